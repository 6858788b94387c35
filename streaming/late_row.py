"""Late events as rows of a table: where each stood, how late it was, key and value as they came."""

import base64

import polars as pl

from contracts.field_type import FieldType
from pipelines.stream import POSITION
from streaming.group_key import MAX_END_MS, MIN_START_MS, canonical_key

KEY, DELETED, EVENT_TIME = "_key", "_deleted", "event_time"
TEXT, BASE64 = "utf-8", "base64"

_TOPIC, _PARTITION, _OFFSET = POSITION

COLUMNS = {
    _TOPIC: FieldType("string"),
    _PARTITION: FieldType("int32"),
    _OFFSET: FieldType("int64"),
    EVENT_TIME: FieldType("timestamp", nullable=True),
    "late_by_ms": FieldType("int64"),
    "key": FieldType("string", nullable=True),
    "value": FieldType("string", nullable=True),
    "encoding": FieldType("string"),
    "pipeline": FieldType("string"),
    "epoch": FieldType("int64"),
}
"""Columns that readers see, and their types."""

_IDENTITY = tuple((name, COLUMNS[name]) for name in ("epoch", *POSITION))


def late_rows(records: pl.DataFrame, pipeline: str, topic: str, epoch: int) -> pl.DataFrame:
    """Turn frozen late events into rows.

    An event is one row an epoch: the epoch and its position are `_key`. The event time is null
    where no table can hold it. Key and value are text where both are UTF-8 without U+0000, which
    PostgreSQL cannot store, and base64 otherwise; `encoding` tells which.

    Args:
        records: Late events as `late_event_frame` gives them.
        pipeline: The stream's name.
        topic: Topic that the events came from.
        epoch: Epoch of the stream.

    Returns:
        `COLUMNS`, `_key` and `_deleted`, in the order of the records.
    """
    rows = [_encoded(key, value) for key, value in records.select("key", "value").iter_rows()]
    contents = pl.DataFrame(
        rows, {"key": pl.String, "value": pl.String, "encoding": pl.String}, orient="row"
    )
    at = pl.col(EVENT_TIME).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ", time_unit="ms", strict=False)
    held = at.dt.epoch("ms").is_between(MIN_START_MS, MAX_END_MS)
    return records.select(
        pl.lit(topic).alias(_TOPIC),
        pl.col("partition").alias(_PARTITION),
        pl.col("offset").alias(_OFFSET),
        pl.when(held).then(at.dt.replace_time_zone("UTC")).alias(EVENT_TIME),
        pl.col("late_by_ms"),
        *contents,
        pl.lit(pipeline).alias("pipeline"),
        pl.lit(epoch, pl.Int64).alias("epoch"),
    ).with_columns(canonical_key(_IDENTITY).alias(KEY), pl.lit(value=False).alias(DELETED))


def _encoded(key: bytes | None, value: bytes | None) -> tuple[str | None, str | None, str]:
    """Give key, value and how both are written."""
    try:
        texts = [None if content is None else content.decode() for content in (key, value)]
    except UnicodeDecodeError:
        texts = ["\0"]
    if any(text is not None and "\0" in text for text in texts):
        written = [
            None if content is None else base64.b64encode(content).decode()
            for content in (key, value)
        ]
        return written[0], written[1], BASE64
    return texts[0], texts[1], TEXT
