"""The shape of a batch's gate."""

from contracts.shape import Choice, Expression, Listing, Options, Scalar, Text, Whole
from pipelines.etl_source_shape import COLUMN, CONNECTION

_BOUND = Scalar("A number, a date or a time")

GATE = Listing(
    Options(
        {
            "check": Choice(
                (
                    "not_null", "unique", "range", "length", "pattern", "enum", "row",
                    "referential", "freshness", "volume", "metric", "reconciliation", "sql",
                ),
                "What is checked",
            ),
            "severity": Choice(("block", "quarantine", "warn"), "What happens when it fails"),
            "field": COLUMN,
            "fields": Listing(COLUMN, 1),
            "min": _BOUND,
            "max": _BOUND,
            "pattern": Text("a regular expression", r"^.+$"),
            "values": Listing(Text(), 1),
            "expression": Expression("Condition or aggregate"),
            "reference": Options(
                {
                    "file": Text("a path that ends in .csv or .parquet", r"^.+\.(csv|parquet)$"),
                    "connection": CONNECTION,
                    "table": Text("table or schema.table", r"^[A-Za-z_][A-Za-z0-9_.]*$"),
                    "field": COLUMN,
                },
                required=("field",),
            ),
            "against": Text("a number of runs such as `14 runs`", r"^[1-9][0-9]{0,3} runs?$"),
            "within": Text(
                "`3 sigma` or a duration such as 1d",
                r"^([0-9]+(\.[0-9]+)? sigma|[0-9]+(ms|s|m|h|d))$",
            ),
            "tolerance": Whole(0, 1_000_000_000, "Rows that counts may be apart"),
        },
        required=("check",),
    ),
    0,
    "Checks before anything is published",
)  # fmt: skip
