"""A table of late events on real servers, through the activity that fills it."""

import datetime as dt
from typing import Any

import polars as pl
import pytest
from temporalio.testing import ActivityEnvironment

from activities.late_table import late_table
from activities.ports import SinkTable
from activities.stream_io import SideOutputInput
from activities.stream_sink import StreamSinkActivities
from common.errors import SinkRefusedError, StaleEpochError
from pipelines.stream import SinkSpec
from streaming.frame import to_bytes
from streaming.segment import Blob
from streaming.side_output import SideBatch
from streaming.side_record import SCHEMA
from tests.conformance.sink_case import VERSIONS_DECIDE, SinkCase
from tests.workflows.memory import MemoryRecordSink, MemoryStore

pytestmark = pytest.mark.parametrize(
    "server", ["clickhouse", "postgres", "postgres-copied", "timescaledb"], indirect=True
)


def target(case: SinkCase, name: str) -> SinkSpec:
    return SinkSpec.model_validate({"kind": case.kind, "table": name})


def table_of(case: SinkCase, name: str) -> SinkTable:
    return late_table("sales", target(case, name))


def batch(sequence: int, *offsets: int) -> SideBatch:
    """Freeze late events; every third one is no text."""
    contents = [b"\xff\0" if offset % 3 == 0 else b"\xc3\xa4%d" % offset for offset in offsets]
    records = pl.DataFrame(
        {
            "partition": [1] * len(offsets),
            "offset": offsets,
            "timestamp_ms": [0] * len(offsets),
            "key": [None if offset % 2 else b"k" for offset in offsets],
            "value": contents,
        },
        schema=SCHEMA,
    ).with_columns(
        pl.Series("event_time", [_time(offset) for offset in offsets], pl.String),
        pl.Series("late_by_ms", [offset * 10 for offset in offsets], pl.Int64),
    )
    content = to_bytes(records)
    blob = Blob(row_count=len(offsets), size_bytes=len(content), inline=content)
    return SideBatch(sequence=sequence, records=blob)


def _time(offset: int) -> str:
    """Give event times that fall as offsets rise; one lies beyond what tables hold."""
    return "0001-01-01T00:00:00.000Z" if offset == 99 else f"2026-05-01T00:00:00.{999 - offset}Z"


async def deliver(case: SinkCase, name: str, *batches: SideBatch, epoch: int = 1) -> None:
    """Run the activity."""
    activities = StreamSinkActivities(MemoryStore(), lambda _: case.sink, MemoryRecordSink())
    task = SideOutputInput(
        pipeline="sales", topic="events", epoch=epoch, batch=list(batches), table=target(case, name)
    )
    await ActivityEnvironment().run(activities.deliver_late_events, task)


async def rows_of(case: SinkCase, name: str) -> list[dict[str, Any]]:
    """Read the final view by offset."""
    found: list[dict[str, Any]] = (await case.sink.final_rows(name)).to_pylist()
    return sorted(found, key=lambda row: (row["epoch"], row["_offset"]))


async def test_repeated_and_partial_deliveries_show_each_late_event_once(
    case: SinkCase, name: str
) -> None:
    notes = (await case.prepare(table_of(case, name))).notes
    await deliver(case, name, batch(1, 1, 2))
    await deliver(case, name, batch(1, 1, 2))
    await deliver(case, name, batch(2, 3), batch(3, 4, 5))
    await deliver(case, name, batch(2, 3), batch(3, 4, 5))
    await deliver(case, name, batch(1, 1, 2))
    await case.prepare(table_of(case, name))
    rows = await rows_of(case, name)
    assert [row["_offset"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0] == {
        "_topic": "events", "_partition": 1, "_offset": 1, "late_by_ms": 10,
        "event_time": dt.datetime(2026, 5, 1, 0, 0, 0, 998_000, tzinfo=dt.UTC),
        "key": None, "value": "ä1", "encoding": "utf-8", "pipeline": "sales", "epoch": 1,
    }  # fmt: skip
    assert (rows[2]["value"], rows[2]["encoding"]) == ("/wA=", "base64")
    assert (rows[1]["key"], rows[1]["encoding"]) == ("k", "utf-8")
    if case.kind == "timescaledb":
        assert any("plain table" in note for note in notes)


async def test_each_epoch_has_its_own_late_events_and_an_older_one_adds_nothing_later(
    case: SinkCase, name: str
) -> None:
    await case.prepare(table_of(case, name))
    await deliver(case, name, batch(1, 1, 2))
    await deliver(case, name, batch(1, 2, 4), epoch=2)
    if case.kind in VERSIONS_DECIDE:
        await deliver(case, name, batch(1, 1, 2))
    else:
        with pytest.raises(StaleEpochError):
            await deliver(case, name, batch(1, 1, 2))
    found = [(row["epoch"], row["_offset"]) for row in await rows_of(case, name)]
    assert sorted(found) == [(1, 1), (1, 2), (2, 2), (2, 4)]
    assert (await case.prepare(table_of(case, name))).highest_epoch == 2


async def test_event_time_that_the_table_cannot_hold_is_null_and_stops_nothing(
    case: SinkCase, name: str
) -> None:
    await case.prepare(table_of(case, name))
    await deliver(case, name, batch(1, 99, 1))
    found = {row["_offset"]: row["event_time"] for row in await rows_of(case, name)}
    assert found[99] is None
    assert found[1] is not None


async def test_table_of_another_shape_is_refused(case: SinkCase, name: str) -> None:
    await case.execute(f"CREATE TABLE {name} (a int)" + _engine(case))
    with pytest.raises(SinkRefusedError, match=name):
        await case.prepare(table_of(case, name))


def _engine(case: SinkCase) -> str:
    return " ENGINE = MergeTree ORDER BY a" if case.kind == "clickhouse" else ""
