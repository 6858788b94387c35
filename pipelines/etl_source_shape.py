"""The shape of a batch's source."""

from contracts.shape import (
    COLUMN_PATTERN,
    TOPIC_PATTERN,
    Choice,
    FieldTypeText,
    Listing,
    Options,
    Table,
    Text,
    Whole,
)

CONNECTION = Text(
    "the name of a connection", r"^[A-Za-z][A-Za-z0-9_-]{0,62}$", "Name in [connections]"
)
COLUMN = Text("a name of letters, digits and _", COLUMN_PATTERN)
_PARAMETER = Text("the name of a parameter", r"^.+$")
_SIZE = Whole(1, 1_000_000, "Rows of a page")

_PAGING = Options(
    {
        "page": Options(
            {
                "param": _PARAMETER,
                "size_param": _PARAMETER,
                "size": _SIZE,
                "first": Whole(0, 1, "Number of the first page"),
            },
            required=("param",),
            doc="Counts pages",
        ),
        "offset": Options(
            {"param": _PARAMETER, "size_param": _PARAMETER, "size": _SIZE},
            required=("param",),
            doc="Counts rows",
        ),
        "cursor": Options(
            {
                "param": _PARAMETER,
                "size_param": _PARAMETER,
                "size": _SIZE,
                "token": Text("a path such as meta.next", r"^[^.]+(\.[^.]+)*$"),
            },
            required=("param", "token"),
            doc="Takes the token of the next page out of each answer",
        ),
        "link": Options(
            {"size_param": _PARAMETER, "size": _SIZE}, doc="Follows the header Link with rel=next"
        ),
    },
    one_of=("page", "offset", "cursor", "link"),
)

SOURCE = Options(
    {
        "postgres": Options(
            {
                "connection": CONNECTION,
                "table": Text(
                    "table or schema.table",
                    r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?$",
                ),
                "query": Text(
                    "one SELECT", r"^\s*([Ss][Ee][Ll][Ee][Cc][Tt]|[Ww][Ii][Tt][Hh])\b[\s\S]*$"
                ),
                "key": COLUMN,
                "cursor": COLUMN,
                "consistency": Choice(("chunk", "snapshot"), "Moment at which rows are read"),
                "timezone": Text("a time zone", doc="Zone of times that have none"),
            },
            one_of=("table", "query"),
        ),
        "files": Options(
            {
                "url": Text("a path, file:// or s3://", r"^.+$", "Files; * ** and ? match many"),
                "format": Choice(("csv", "jsonl", "parquet")),
                "compression": Choice(("auto", "none", "gzip", "zstd")),
                "delimiter": Text("one character", r"^.$"),
                "null": Listing(Text(), 0, "Texts that stand for nothing, of CSV"),
                "timezone": Text("a time zone", doc="Zone of times that have none"),
            },
            required=("url", "format"),
        ),
        "http": Options(
            {
                "connection": CONNECTION,
                "path": Text("a path", r"^[^?#]*$"),
                "params": Table(Text()),
                "headers": Table(Text()),
                "records": Text("a path such as data.items", r"^[^.]+(\.[^.]+)*$"),
                "paging": _PAGING,
                "rate": Text("requests a second such as 5/s", r"^[1-9][0-9]*/(s|m)$"),
                "timezone": Text("a time zone", doc="Zone of times that have none"),
            },
            required=("connection",),
        ),
        "kafka": Options(
            {
                "topic": Text("a topic name", TOPIC_PATTERN),
                "format": Choice(("json",)),
            },
            required=("topic",),
        ),
        "fields": Table(FieldTypeText("Type; `?` allows null"), 1, "Columns of the source"),
    },
    one_of=("postgres", "files", "http", "kafka"),
)
