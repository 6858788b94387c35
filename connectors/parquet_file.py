"""Parquet files, read by row groups."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO

import polars as pl
import pyarrow as pa
from pyarrow import parquet

from batch.read_row import ReadRows, typed_rows
from common.errors import SourceRefusedError
from connectors.file_format import Span
from connectors.file_place import PinnedFile
from connectors.parquet_type import field_type, needs_zone
from contracts.field_type import FieldType
from pipelines.etl_source import FileSource

COLUMN_BUFFER_BYTES = 1024 * 1024
"""How much of each column is read at once."""

VALUE_BYTES = 16


class ParquetFiles:
    """Reads Parquet; types are those of the file, unless they are declared.

    Raises:
        SourceRefusedError: A compression of whole files is declared.
    """

    def __init__(self, source: FileSource, declared: Mapping[str, FieldType]) -> None:
        self._source = source
        self._declared = declared
        if source.compression not in ("auto", "none"):
            raise SourceRefusedError(
                f"source.files.compression: expected none with Parquet, which is compressed within,"
                f" got {source.compression}; leave it out"
            )

    def columns(self, opened: BinaryIO, file: PinnedFile, notes: list[str]) -> dict[str, str]:
        """Give the columns whose types a field can have; the others are told in notes."""
        with _readable(file), parquet.ParquetFile(opened) as table:
            schema = table.schema_arrow
        found: dict[str, str] = {}
        for column in schema:
            kind = field_type(column.type, nullable=column.nullable)
            declared = column.name in self._declared
            if kind is None and not declared:
                notes.append(
                    f"file `{file.path}`: column `{column.name}` of type {column.type} is not read,"
                    " no field type holds it"
                )
                continue
            if kind is None:
                raise SourceRefusedError(
                    f"file `{file.path}`: expected a type that fields have in column "
                    f"`{column.name}`, got {column.type}; take it out of `fields`"
                )
            if needs_zone(column.type) and self._source.timezone is None:
                raise SourceRefusedError(
                    f"file `{file.path}`: expected times with a zone in column `{column.name}`, "
                    "got times on the wall; say whose in `source.files.timezone`"
                )
            if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
                notes.append(
                    f"file `{file.path}`: `{column.name}` has nanoseconds, which are cut to "
                    "microseconds"
                )
            found[column.name] = str(kind)
        return found

    def spans(self, opened: BinaryIO, file: PinnedFile, chunk_rows: int) -> list[Span]:
        """Cut a file between row groups."""
        with _readable(file), parquet.ParquetFile(opened) as table:
            sizes = [table.metadata.row_group(n).num_rows for n in range(table.num_row_groups)]
        spans: list[Span] = []
        start = rows = 0
        for group, size in enumerate(sizes):
            if rows and rows + size > chunk_rows:
                spans.append(Span(file=file, start=start, stop=group, row_estimate=rows))
                start, rows = group, 0
            rows += size
        if rows:
            spans.append(Span(file=file, start=start, stop=len(sizes), row_estimate=rows))
        return spans

    def read(
        self, opened: BinaryIO, span: Span, kinds: Mapping[str, FieldType], block_bytes: int
    ) -> Iterator[ReadRows]:
        """Yield the rows of some row groups."""
        with (
            _readable(span.file),
            parquet.ParquetFile(opened, buffer_size=COLUMN_BUFFER_BYTES) as table,
        ):
            names = [name for name in table.schema_arrow.names if name in kinds]
            groups = list(range(span.start, span.stop or 0))
            first = 0
            for batch in table.iter_batches(
                batch_size=_block_rows(table, groups, block_bytes),
                row_groups=groups,
                columns=names,
                use_threads=False,
            ):
                yield self._typed(batch, kinds, span, first)
                first += batch.num_rows

    def _typed(
        self, batch: pa.RecordBatch, kinds: Mapping[str, FieldType], span: Span, first: int
    ) -> ReadRows:
        frame = pl.DataFrame([self._series(batch, name) for name in batch.schema.names])

        def content(row: int) -> str:
            values = frame.row(row, named=True)
            shown = {name: None if value is None else str(value) for name, value in values.items()}
            return json.dumps(shown, ensure_ascii=False)

        return typed_rows(
            {name: frame[name] for name in frame.columns},
            batch.num_rows,
            kinds,
            self._source.timezone,
            content,
            lambda row: f"{span.file.name} from row group {span.start}, row {first + row:,}",
        )

    def _series(self, batch: pa.RecordBatch, name: str) -> pl.Series:
        """Give a column as polars has it."""
        array = batch.column(name)
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            array = _plain(array)
        elif pa.types.is_dictionary(kind):
            array = array.cast(kind.value_type)
        elif kind == pa.uint64():
            array = array.cast(pa.decimal128(20, 0))
        elif pa.types.is_null(kind):
            array = array.cast(pa.large_string())
        return pl.Series(name, pl.from_arrow(array))


def _plain(array: pa.Array) -> pa.Array:
    """Give ids as texts, and JSON as the texts that it is."""
    if array.type.extension_name == "arrow.uuid":
        return pa.array([None if one is None else str(one) for one in array.to_pylist()])
    return array.storage


def _block_rows(table: parquet.ParquetFile, groups: list[int], block_bytes: int) -> int:
    """Say how many rows of some row groups have about so many bytes.

    Values that repeat take next to nothing in the file: each is counted with its size in memory.
    """
    rows = sum(table.metadata.row_group(group).num_rows for group in groups)
    size = sum(table.metadata.row_group(group).total_byte_size for group in groups)
    size = max(size, rows * table.metadata.num_columns * VALUE_BYTES)
    return max(int(block_bytes * rows / max(size, 1)), 1)


@contextmanager
def _readable(file: PinnedFile) -> Iterator[None]:
    """Refuse a file that is no Parquet."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceRefusedError(
            f"file `{file.path}`: expected Parquet, got a mistake: {str(error).splitlines()[0]}; "
            "check the file and `format`"
        ) from error
