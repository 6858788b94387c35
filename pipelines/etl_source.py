"""Where the rows of a batch come from, as its file declares it."""

from typing import Annotated, Literal

from pydantic import Field

from common.payloads import Model

Consistency = Literal["chunk", "snapshot"]
FileFormat = Literal["csv", "jsonl", "parquet"]
Compression = Literal["auto", "none", "gzip", "zstd"]


class PostgresSource(Model):
    """A table, or a query, of PostgreSQL.

    Attributes:
        connection: Name in `[connections]`; None is the `postgres` of the settings.
        table: `table` or `schema.table`; None where there is a query.
        query: One SELECT; None where there is a table.
        key: Column by whose ranges chunks are cut; None takes the primary key's first column, and
            where there is none, places on disk (ctid).
        cursor: Column that says when a row last changed; only rows of the interval are read.
        consistency: `chunk` reads each chunk at its own time, and can go on after a crash;
            `snapshot` reads all at one moment, and begins again after a crash.
        timezone: Zone in which times without one are read.
    """

    kind: Literal["postgres"] = "postgres"
    connection: str | None = None
    table: str | None = None
    query: str | None = None
    key: str | None = None
    cursor: str | None = None
    consistency: Consistency = "chunk"
    timezone: str = "UTC"


class FileSource(Model):
    """Files, one or many.

    Attributes:
        url: Path from the folder of the pipeline's file, or `file://`, `s3://`; `*`, `**` and `?`
            match many. `{date}` stands for the day of the interval, `{data}` for the folder of
            the stack's data.
        compression: `auto` goes by the ending: `.gz`, `.zst`.
        delimiter, null: Of CSV.
        timezone: Zone of times that have none; None refuses them.
    """

    kind: Literal["files"] = "files"
    url: str
    format: FileFormat
    compression: Compression = "auto"
    delimiter: str = ","
    null: list[str] = [""]
    timezone: str | None = None


class Paging(Model):
    """How an HTTP API is read page by page.

    Attributes:
        kind: `page` counts pages, `offset` counts rows, `cursor` takes a token out of each answer,
            `link` follows the header `Link: …; rel="next"`.
        param: Name of the parameter of the page, offset or token.
        size_param: Name of the parameter that says how many rows a page has.
        size: Rows of a page.
        first: Number of the first page.
        token: Path of the next token in an answer, such as `meta.next`.
    """

    kind: Literal["page", "offset", "cursor", "link"]
    param: str = ""
    size_param: str = ""
    size: int = 100
    first: int = 1
    token: str = ""


class HttpSource(Model):
    """An HTTP API that answers JSON.

    Attributes:
        connection: Name in `[connections]`, whose `dsn` is the base URL.
        path: Path below the base URL.
        params: Parameters of every request; here and in the path `{start}` and `{end}` stand for
            the interval in ISO 8601, `{date}` for its day.
        headers: Headers of every request; `${NAME}` takes an environment variable of the worker.
        records: Path of the list of records in an answer, such as `data.items`; empty is the
            answer itself.
        rate_per_s: Requests a second at most; None is without a bound.
        timezone: Zone of times that have none; None refuses them.
    """

    kind: Literal["http"] = "http"
    connection: str
    path: str = ""
    params: dict[str, str] = {}
    headers: dict[str, str] = {}
    records: str = ""
    paging: Paging | None = None
    rate_per_s: float | None = None
    timezone: str | None = None


class KafkaSource(Model):
    """The records of a topic whose record time is within the interval."""

    kind: Literal["kafka"] = "kafka"
    topic: str
    format: Literal["json"] = "json"


Source = Annotated[
    PostgresSource | FileSource | HttpSource | KafkaSource, Field(discriminator="kind")
]
