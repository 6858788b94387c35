"""SQL expressions of a pipeline: parsed with sqlglot in DuckDB's dialect, typed against the fields."""

from dataclasses import dataclass

from sqlglot import exp

from contracts.field_type import FieldType


@dataclass(frozen=True)
class ScalarExpression:
    """A typed row expression. `tree` is the parsed SQL, columns unqualified."""

    text: str
    tree: exp.Expression
    type: FieldType
    columns: tuple[str, ...]


@dataclass(frozen=True)
class AggregateExpression:
    """A typed aggregate call.

    Attributes:
        function: `count`, `sum`, `min`, `max`, `avg` or `count_distinct`; more as the engine learns them.
        argument: What is aggregated; None for `count(*)`.
        type: Type of the result.
    """

    text: str
    function: str
    argument: ScalarExpression | None
    type: FieldType


def parse_scalar(text: str, fields: dict[str, FieldType]) -> ScalarExpression:
    """Parse and type a row expression; raises `PipelineSpecError` with a near miss for an unknown field."""
    raise NotImplementedError


def parse_aggregate(text: str, fields: dict[str, FieldType]) -> AggregateExpression:
    """Parse and type an aggregate call; raises `PipelineSpecError`."""
    raise NotImplementedError
