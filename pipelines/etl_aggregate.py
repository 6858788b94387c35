"""Aggregates of batches: those of streams that do not depend on the order of rows."""

from collections.abc import Mapping

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from pipelines.expression_aggregate import AggregateExpression, parse_aggregate
from pipelines.expression_aggregate_type import POSITIONAL


def parse_batch_aggregate(text: str, columns: Mapping[str, FieldType]) -> AggregateExpression:
    """Parse and type an aggregate over columns.

    Raises:
        PipelineSpecError: It is none, or asks for an order that the rows of a batch do not have.
    """
    call = parse_aggregate(text, columns)
    if call.function in POSITIONAL:
        raise PipelineSpecError(
            f"`{text}`: expected an aggregate that any order of rows gives alike, as the rows of a "
            "batch have none; use min or max"
        )
    return call
