"""Tables of raw streams: events by their position, or by an identity of their own."""

import dataclasses
import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from activities.ports import FlushChunk, SinkColumn, SinkTable
from activities.stream_sink import sink_table
from common.errors import SinkRefusedError, StaleEpochError
from connectors.sink_rows import arrow_type
from pipelines.stream import EventTime, SinkSpec, StreamSpec
from tests.conformance.sink_case import VERSIONS_DECIDE, SinkCase, chunk_of

FIELDS = {
    "at": "timestamp_ms", "id": "int64", "who": "uuid?", "note": "string?",
    "price": "decimal(12,2)?",
    "ratio": "float64?", "flag": "bool?", "day": "date?", "document": "json?",
    "tags": "list<string?>", "prices": "list<decimal(12,2)>", "maybe": "list<int64>?",
}  # fmt: skip


def raw_table(case: SinkCase, name: str, *, by_id: bool = False, stream: str = "raw") -> SinkTable:
    """Describe the table of a raw stream as the stream does."""
    spec = StreamSpec.model_validate(
        {
            "name": stream,
            "topic": "events",
            "fields": FIELDS,
            "event_time": EventTime(field="at"),
            "identity": ["id"] if by_id else [],
            "sinks": [SinkSpec.model_validate({"kind": case.kind, "table": name})],
        }
    )
    return sink_table(spec, spec.sinks[0])


def event(offset: int, *, at_ms: int | None = None, by_id: int | None = None) -> dict[str, Any]:
    """Make a row; by id its key is that of the id."""
    full = offset % 2
    return {
        "at": offset * 1_000 if at_ms is None else at_ms,
        "id": offset if by_id is None else by_id,
        "who": "0f8fad5b-d9cb-469f-a165-70867728950e" if full else None,
        "note": "ü | \\ 😀" if full else None,
        "price": "-1.50" if full else None,
        "ratio": 0.1 if full else None,
        "flag": True if full else None,
        "day": dt.date(2026, 5, 1) if full else None,
        "document": '{"a": [1]}' if full else None,
        "tags": ["x", None, ""] if full else [],
        "prices": ["1.10"] if full else [],
        "maybe": [2**62] if full else None,
        "_topic": "events",
        "_partition": 1,
        "_offset": offset,
        "_key": f"events|1|{offset}" if by_id is None else str(by_id),
    }


async def write(case: SinkCase, table: SinkTable, chunk: FlushChunk, *rows: dict[str, Any]) -> None:
    """Lay rows out as the engine does and write them."""
    columns = {
        column.name: _array([row[column.name] for row in rows], arrow_type(column.type))
        for column in table.columns
    }
    columns["_key"] = pa.array([row["_key"] for row in rows], pa.string())
    columns["_version"] = pa.array([chunk.version] * len(rows), pa.int64())
    columns["_deleted"] = pa.array([False] * len(rows), pa.bool_())
    await case.sink.write(table, chunk, pa.table(columns))


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    texts = pa.types.is_decimal(kind) or (
        pa.types.is_list(kind) and pa.types.is_decimal(kind.value_type)
    )
    if not texts:
        return pa.array(values, kind)
    return pa.array(values, pa.list_(pa.string()) if pa.types.is_list(kind) else None).cast(kind)


async def offsets(case: SinkCase, table: SinkTable, limit: int | None = None) -> list[int]:
    """Read the offsets of the final view, in its order."""
    found: list[int] = (await case.sink.final_rows(table.name, limit, table.time))[
        "_offset"
    ].to_pylist()
    return found


async def test_repeated_batches_show_each_event_once_newest_first(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    for _ in range(2):
        for flush_seq in (1, 2):
            rows = [event(offset) for offset in range(flush_seq * 10, flush_seq * 10 + 3)]
            await write(case, table, chunk_of(table, flush_seq), *rows)
        await case.prepare(table)
    assert await offsets(case, table) == [22, 21, 20, 12, 11, 10]
    assert await offsets(case, table, 2) == [22, 21]


async def test_a_crash_between_two_chunks_is_made_good_by_the_retry(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    first, second = (chunk_of(table, 1, chunk=place, count=2) for place in (0, 1))
    await write(case, table, first, event(1))
    await write(case, table, first, event(1))
    await write(case, table, second, event(2))
    assert await offsets(case, table) == [2, 1]


async def test_events_of_one_time_stand_in_the_order_of_their_offsets(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    rows = [event(offset, at_ms=5) for offset in (9, 10, 100, 2)]
    await write(case, table, chunk_of(table, 1), *rows)
    assert await offsets(case, table) == [2, 9, 10, 100]


async def test_every_field_of_an_event_comes_back(case: SinkCase, name: str) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    await write(case, table, chunk_of(table, 1), event(1), event(2))
    found = (await case.sink.final_rows(table.name, None, table.time)).to_pylist()
    for row, wanted in zip(found, (event(2), event(1)), strict=True):
        for column in ("note", "who", "ratio", "flag", "day", "tags", "_topic", "_partition"):
            assert row[column] == wanted[column], column
        none: list[int] | None = (
            [] if case.kind == "clickhouse" else None
        )  # its arrays are never null
        assert row["maybe"] == (wanted["maybe"] or none)
        assert str(row["price"]) == str(wanted["price"])
        assert [str(price) for price in row["prices"]] == wanted["prices"]
        assert (row["document"] or "").replace(" ", "") == (wanted["document"] or "").replace(
            " ", ""
        )
    assert list(found[0]) == [*FIELDS, "_topic", "_partition", "_offset"]


async def test_a_zombie_and_an_older_epoch_change_nothing(case: SinkCase, name: str) -> None:
    table = raw_table(case, name, by_id=True)
    await case.prepare(table)
    older = chunk_of(table, 9, epoch=1)
    await write(case, table, older, event(50, by_id=7))
    await write(case, table, chunk_of(table, 2, epoch=2), event(60, by_id=7))
    await write(case, table, chunk_of(table, 3, epoch=2), event(61, by_id=7))
    await write(case, table, chunk_of(table, 2, epoch=2), event(60, by_id=7))
    if case.kind in VERSIONS_DECIDE:
        await write(case, table, older, event(50, by_id=7))
    else:
        with pytest.raises(StaleEpochError):
            await write(case, table, older, event(50, by_id=7))
    assert await offsets(case, table) == [61]


async def test_by_id_a_later_event_replaces_one_of_another_time(case: SinkCase, name: str) -> None:
    table = raw_table(case, name, by_id=True)
    notes = (await case.prepare(table)).notes
    await write(case, table, chunk_of(table, 1), event(1, by_id=1), event(2, by_id=2))
    await write(case, table, chunk_of(table, 2), event(3, by_id=1, at_ms=10**9))
    await write(case, table, chunk_of(table, 3), event(4, by_id=1, at_ms=10))
    assert await offsets(case, table) == [2, 4]
    if case.kind == "timescaledb":
        assert any("plain table" in note for note in notes)
    await case.prepare(table)
    assert await offsets(case, table) == [2, 4]


async def test_a_table_of_events_by_position_is_refused_for_events_by_id(
    case: SinkCase, name: str
) -> None:
    await case.prepare(raw_table(case, name))
    with pytest.raises(SinkRefusedError):
        await case.prepare(raw_table(case, name, by_id=True))


@pytest.mark.parametrize("server", ["timescaledb"], indirect=True)
async def test_a_hypertable_of_events_takes_retention_and_compression(
    case: SinkCase, name: str
) -> None:
    day_ms = 86_400_000
    table = dataclasses.replace(
        raw_table(case, name), retention_ms=90 * day_ms, compress_after_ms=7 * day_ms
    )
    assert (await case.prepare(table)).notes == []
    await write(case, table, chunk_of(table, 1), event(1))
    assert await offsets(case, table) == [1]


async def test_a_column_that_the_table_lacks_is_refused(case: SinkCase, name: str) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    more = (*table.columns, SinkColumn("later", table.columns[0].type))
    with pytest.raises(SinkRefusedError):
        await case.prepare(dataclasses.replace(table, columns=more))
