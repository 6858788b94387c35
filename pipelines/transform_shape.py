"""The shape of the steps between decoding and grouping."""

from contracts.shape import (
    COLUMN_PATTERN,
    Choice,
    Either,
    Expression,
    FieldTypeText,
    Listing,
    Options,
    Table,
    Text,
)

_FUNCTION = Text(
    "where the function is, as package.module.function",
    r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)+$",
    "Function of your own, as package.module.function",
)
_ARGUMENTS = Listing(Expression("Row expression"), 1, "Arguments, each one Series")

WHERE = Either(
    Expression("Condition; null is not true"),
    Options({"python": _FUNCTION, "args": _ARGUMENTS}, required=("python", "args")),
    "Condition of the rows that go on",
)
DERIVE = Table(
    Either(
        Expression("Row expression"),
        Options(
            {
                "python": _FUNCTION,
                "args": _ARGUMENTS,
                "returns": FieldTypeText("Type of the result"),
            },
            required=("python", "args", "returns"),
        ),
    ),
    0,
    "New columns; each may use the earlier ones",
)
_NAME = Text("a name of a column", r"^.+$")
_COLUMN = Text("a name of letters, digits and _", COLUMN_PATTERN)
ENRICH = Options(
    {
        "file": Text(
            "a path that ends in .csv or .parquet",
            r"^.+\.(csv|parquet)$",
            "Reference file, from the folder of this file",
        ),
        "on": Either(_COLUMN, Table(_NAME, 1), "Column, or columns with those of the file"),
        "take": Either(
            Listing(_COLUMN, 1),
            Table(FieldTypeText("Type in the file; `?` allows an empty one"), 1),
            "Columns of the file",
        ),
        "required": Choice(("true", "false"), "Whether a row without a match is a dead letter"),
    },
    required=("file", "on", "take"),
    doc="New columns from a reference file",
)
TRANSFORM = Listing(
    Options(
        {
            "where": WHERE,
            "derive": DERIVE,
            "expand": Table(
                Expression("unnest(list)"), 1, "New columns; one row for each element of a list"
            ),
            "enrich": ENRICH,
        },
        one_of=("where", "derive", "expand", "enrich"),
    ),
    0,
    "Steps after `where` and `derive`, in their order",
)
