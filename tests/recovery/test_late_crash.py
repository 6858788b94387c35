"""Workers that die around the writes of a table of late events: each event is there once."""

import json

import pytest

from activities.late_table import late_table
from common.settings import Settings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_sink import SinkRecord, TransactionalRecordSink
from connectors.sinks import open_sink
from pipelines.stream import EventTime, Late, SinkSpec, StreamSpec, Trigger, Window
from tests.recovery.crash_run import Death, apart, mortal_worker, run_through
from tests.recovery.test_deployment import there
from tests.stack_rig import StreamOnStack

pytestmark = [pytest.mark.recovery, pytest.mark.timeout(300)]

START_MS = 1_767_225_600_000
MINUTE_MS = 60_000
LATE = 900
SEQUENCE = "late-crash-filler"


def sink_of(kind: str, name: str) -> SinkSpec:
    return SinkSpec.model_validate({"kind": kind, "table": name.replace("-", "_")})


def spec_of(name: str, kind: str, other: str) -> StreamSpec:
    """Send late events to a table of one database, and rows to another one."""
    return StreamSpec(
        name=name,
        topic=f"{name}-events",
        fields={"at": "timestamp_ms", "n": "int64"},
        event_time=EventTime(field="at"),
        window=Window(kind="tumbling", size_ms=MINUTE_MS),
        late=Late(allowed_ms=10_000),
        late_table=sink_of(kind, f"{name}-late"),
        aggregate={"events": "count(*)"},
        sinks=[sink_of(other, name)],
        trigger=Trigger(interval_ms=50, max_records=100),
    )


def record(after_ms: int, number: int) -> SinkRecord:
    return None, json.dumps({"at": START_MS + after_ms, "n": number}).encode(), []


@pytest.mark.parametrize(("kind", "other"), [("clickhouse", "postgres"), ("timescaledb", "lake")])
async def test_each_late_event_is_in_its_table_once_when_workers_die_around_its_writes(
    stack: Settings, kind: str, other: str
) -> None:
    settings = await apart(stack)
    spec = spec_of(f"late-crash-{kind}", kind, other)
    admin = KafkaAdmin(settings.kafka)
    await admin.create_topic(spec.topic, 1)
    await admin.close()
    filler = TransactionalRecordSink(settings.kafka)
    first = [record(0, -1), record(10 * MINUTE_MS, -2)]
    await filler.write_once(SEQUENCE, spec.topic, 1, first)
    stream = StreamOnStack(settings, spec)
    await stream.start(until_latest=False)
    async with mortal_worker(settings, Death("never", 0), name=spec.name):
        await there(settings.data_dir / "run" / f"{spec.name}.ready", wanted=True)
        await stream.until(lambda s: s.watermark_ms == START_MS + 10 * MINUTE_MS)
        await stream.handle.signal("stop")
        await stream.handle.result()

    on_time = [record(10 * MINUTE_MS + n, -3) for n in range(50)]
    late = [record(n, n) for n in range(LATE)]
    await filler.write_once(SEQUENCE, spec.topic, 2, [*late, *on_time])
    await filler.close()
    await stream.start()
    moments = ("after:fetch", f"before:write:{kind}", f"after:write:{kind}")
    deaths = [Death(moment, 1) for moment in moments]
    result, died = await run_through(stream, deaths)
    assert died == len(deaths), f"ended before {deaths[died]}"

    ledger = result.ledger
    assert (result.state, ledger.balanced, ledger.late) == ("completed", True, LATE)
    assert ledger.consumed == ledger.aggregated + LATE == len(first) + LATE + len(on_time)
    assert spec.late_table is not None
    table, sink = late_table(spec.name, spec.late_table), open_sink(kind, settings)
    try:
        rows = (await sink.final_rows(table.name, None, table.time)).to_pylist()
    finally:
        await sink.close()
    assert sorted(json.loads(row["value"])["n"] for row in rows) == list(range(LATE))
    assert len({row["_offset"] for row in rows}) == LATE
    assert {row["late_by_ms"] for row in rows} == {9 * MINUTE_MS - 10_000}
    shown = await stream.view(other)
    assert shown["events"].sum() == ledger.aggregated
