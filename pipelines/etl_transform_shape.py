"""The shape of a batch's steps."""

from contracts.shape import Expression, FieldTypeText, Listing, Options, Table
from pipelines.etl_source_shape import COLUMN
from pipelines.transform_shape import DERIVE, ENRICH, WHERE

ETL_TRANSFORM = Listing(
    Options(
        {
            "where": WHERE,
            "derive": DERIVE,
            "expand": Table(Expression("unnest(list)"), 1, "One row for each element of a list"),
            "join": ENRICH,
            "select": Listing(COLUMN, 1, "The columns that stay"),
            "drop": Listing(COLUMN, 1, "Columns that go"),
            "rename": Table(COLUMN, 1, "Old names with their new ones"),
            "cast": Table(FieldTypeText("New type"), 1, "Columns with their new types"),
            "aggregate": Options(
                {
                    "group_by": Listing(COLUMN),
                    "columns": Table(Expression("Aggregate"), 1),
                },
                required=("columns",),
                doc="Rows that stand for groups",
            ),
        },
        one_of=(
            "where", "derive", "expand", "join", "select", "drop", "rename", "cast", "aggregate"
        ),
    ),
    0,
    "Steps in their order",
)  # fmt: skip
