"""The shape of a `kind: stream` file."""

from contracts.shape import (
    COLUMN_PATTERN,
    NAME_PATTERN,
    TOPIC_PATTERN,
    Choice,
    Duration,
    Expression,
    FieldTypeText,
    Listing,
    Options,
    Table,
    Text,
    TextOr,
    Whole,
    WordOr,
)
from pipelines.late_check import LATE_TABLE_KINDS
from pipelines.stream import MOST_FLUSHES, MOST_PARALLELISM, MOST_RECORDS
from pipelines.transform_shape import DERIVE, TRANSFORM, WHERE

_COLUMN = Text("a name of letters, digits and _", COLUMN_PATTERN)
_TOPIC = Text("a topic name of letters, digits and . _ -, at most 249 long", TOPIC_PATTERN)
_TABLE = Text(
    "a table name of letters, digits and _ that begins with a letter or _, at most 48 long",
    r"^[A-Za-z_][A-Za-z0-9_]{0,47}$",
    "Name of the target; readers use the view <table>_final",
)
_POSTGRES = Options(
    {
        "table": _TABLE,
        "retention": Duration(1, "Age after which chunks are dropped"),
        "compress_after": Duration(1, "Age after which chunks are compressed"),
    },
    required=("table",),
)

_LATE_TABLE = Options({"table": _TABLE}, required=("table",))

_PATH = Text(
    "a path of segments of letters, digits and . _ - that begin with a letter or digit, "
    "at most 200 long",
    r"^(?=.{1,200}$)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
    "Folder within the lake, `lake.url` of the settings",
)

STREAM = Options(
    {
        "kind": Choice(("stream",)),
        "name": Text(
            "a name of small letters, digits and - that begins with a letter, at most 63 long",
            NAME_PATTERN,
            "Name of the pipeline",
        ),
        "description": Text(doc="What the stream gives, in one sentence"),
        "owner": Text(doc="Who answers for it"),
        "source": Options(
            {
                "kafka": Options(
                    {"topic": _TOPIC, "format": Choice(("json",))}, required=("topic",)
                ),
                "fields": Table(
                    FieldTypeText("Type of the field; `?` allows null"), 1, "Fields of a record"
                ),
                "contract": Text(
                    "the name of a contract, of small letters, digits and -",
                    NAME_PATTERN,
                    "Contract that declares the fields, and rules that every record must keep",
                ),
            },
            required=("kafka",),
            one_of=("fields", "contract"),
        ),
        "event_time": Options(
            {
                "field": Text(
                    "the name of a field", COLUMN_PATTERN, "Field that says when it happened"
                ),
                "out_of_orderness": Duration(doc="Bound of disorder within one partition"),
                "idle_timeout": Duration(
                    1, "A partition without news for this long no longer holds back the watermark"
                ),
                "max_ahead": Duration(
                    doc="An event time further than this after now is a dead letter"
                ),
                "max_drift": Duration(
                    1, "A partition further than this ahead of the slowest waits"
                ),
                "close_after": Duration(1, "Quiet time after which windows close by the clock"),
            },
            required=("field",),
        ),
        "where": WHERE,
        "derive": DERIVE,
        "transform": TRANSFORM,
        "deduplicate": Options(
            {
                "by": Listing(_COLUMN, 1, "Fields or derived columns that make events the same"),
                "within": Duration(1, "How far back in event time the one before may be"),
            },
            required=("by", "within"),
            doc="Drops events that came before in their partition",
        ),
        "group_by": Listing(_COLUMN, doc="Fields or derived columns that make the key"),
        "window": Options(
            {
                "tumbling": Duration(1, "Size of windows that follow each other"),
                "sliding": Duration(1, "Size of windows that overlap; needs `every`"),
                "every": Duration(1, "Distance of the starts of sliding windows"),
                "session": Duration(1, "Gap that ends a session"),
                "max_length": Duration(
                    1, "Multiples of this since the epoch end sessions, too; at least the gap"
                ),
                "offset": Duration(doc="Shift of the alignment from the epoch", signed=True),
                "timezone": Text(
                    "a time zone such as Europe/Berlin",
                    None,
                    "Zone whose days a window of days follows",
                ),
            },
            one_of=("tumbling", "sliding", "session"),
        ),
        "aggregate": Table(Expression("Aggregate call"), 0, "Output columns"),
        "identity": Listing(
            _COLUMN,
            doc="Columns that identify an event where there is no window; else its position",
        ),
        "late": Options(
            {
                "allowed": Duration(doc="How long a fired window still takes events"),
                "to": TextOr(
                    Text(_TOPIC.expected, TOPIC_PATTERN, "A topic"),
                    Options(
                        dict.fromkeys(LATE_TABLE_KINDS, _LATE_TABLE),
                        one_of=LATE_TABLE_KINDS,
                        doc="A table",
                    ),
                    "Where late events go, as they came",
                ),
            }
        ),
        "emit": WordOr(
            "final", Options({"updates": Duration(1, "Interval of early emissions")}, ("updates",))
        ),
        "sinks": Listing(
            Options(
                {
                    "clickhouse": Options({"table": _TABLE}, required=("table",)),
                    "timescaledb": _POSTGRES,
                    "postgres": Options({"table": _TABLE}, required=("table",)),
                    "kafka": Options({"topic": _TOPIC}, required=("topic",)),
                    "lake": Options({"path": _PATH}, required=("path",)),
                },
                one_of=("clickhouse", "timescaledb", "postgres", "kafka", "lake"),
            ),
            1,
            "Where the results go",
        ),
        "trigger": Options(
            {
                "interval": Duration(1, "How often a range is cut"),
                "max_records": Whole(1, MOST_RECORDS, "Records that cut a range at once"),
            }
        ),
        "limits": Options(
            {
                "parallelism": Whole(1, MOST_PARALLELISM, "Whole ranges in flight"),
                "max_pending_flushes": Whole(
                    1, MOST_FLUSHES, "Flushes that wait for a sink before reading is held back"
                ),
            }
        ),
    },
    required=("kind", "name", "source", "event_time", "sinks"),
)
