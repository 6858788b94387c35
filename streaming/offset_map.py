"""Offsets by partition, as they travel."""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from streaming.packing import pack_columns, unpack_columns

PLAIN_PARTITIONS = 256
"""Up to so many partitions they are written in clear."""


def _write(offsets: dict[int, int] | None) -> dict[int, int] | str | None:
    if offsets is None or len(offsets) <= PLAIN_PARTITIONS:
        return offsets
    return pack_columns([[*offsets], [*offsets.values()]])


def _read(value: Any) -> Any:  # noqa: ANN401 - whatever came, to be validated
    if not isinstance(value, str):
        return value
    numbers, offsets = unpack_columns(value, 2)
    return dict(zip(numbers, offsets, strict=True))


OffsetMap = Annotated[
    dict[int, int], BeforeValidator(_read), PlainSerializer(_write, when_used="json")
]
"""An offset per partition; in JSON those of a topic of many partitions are packed."""

PartitionSpan = tuple[int, int, int]
"""Offsets of a partition: its number, the first one, and the one after the last."""


def _write_spans(spans: list[PartitionSpan]) -> list[PartitionSpan] | str:
    return spans if len(spans) <= PLAIN_PARTITIONS else pack_columns([*zip(*spans, strict=True)])


def _read_spans(value: Any) -> Any:  # noqa: ANN401 - whatever came, to be validated
    return [*zip(*unpack_columns(value, 3), strict=True)] if isinstance(value, str) else value


SpanList = Annotated[
    list[PartitionSpan],
    BeforeValidator(_read_spans),
    PlainSerializer(_write_spans, when_used="json"),
]
"""Offsets of partitions; in JSON those of many are packed."""
