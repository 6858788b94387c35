"""The shape of a batch's targets."""

from contracts.shape import Choice, Listing, Options, Shape, Text
from pipelines.etl_source_shape import COLUMN, CONNECTION

_MODE = Choice(
    ("append", "replace", "merge", "insert_only", "scd2"), "How rows get into the target"
)
_KEY = Listing(COLUMN, 1, "Columns that tell rows apart")
_TABLE = Text(
    "a table name of letters, digits and _ that begins with a letter or _, at most 48 long",
    r"^[A-Za-z_][A-Za-z0-9_]{0,47}$",
)
_SCHEMA_TABLE = Text(
    "table or schema.table, the table at most 48 long",
    r"^([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,47}$",
)
_PATH = Text(
    "a path of segments of letters, digits and . _ -, at most 200 long",
    r"^(?=.{1,200}$)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
)
_POSTGRES: dict[str, Shape] = {
    "connection": CONNECTION,
    "table": _SCHEMA_TABLE,
    "mode": _MODE,
    "key": _KEY,
}

TARGETS = Listing(
    Options(
        {
            "clickhouse": Options(
                {"connection": CONNECTION, "table": _TABLE, "mode": _MODE, "key": _KEY},
                required=("table", "mode"),
            ),
            "postgres": Options(_POSTGRES, required=("table", "mode")),
            "timescaledb": Options(
                {**_POSTGRES, "partition_by": COLUMN}, required=("table", "mode")
            ),
            "lake": Options(
                {"path": _PATH, "mode": _MODE, "key": _KEY, "partition_by": COLUMN},
                required=("path", "mode"),
            ),
        },
        one_of=("clickhouse", "postgres", "timescaledb", "lake"),
    ),
    1,
    "Where the rows go",
)
