"""Record histories of workflows on an embedded stack: `python -m tests.replay.record [NAME…]`.

Run by hand, from landed code only. A red replay means that a change of the workflow needs
`workflow.patched()`, not a new recording. Host names and stack traces are taken out.
"""

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from temporalio.client import Client

from common.names import stream_workflow_id
from common.settings import Settings, WorkerSettings
from connectors.temporal import connect
from devstack import stack as devstack
from devstack.sample.sales import START_MS, SalesShape
from pipelines.stream import Deduplicate, Late, SinkSpec, StreamSpec, Window
from pipelines.transform import Step
from streaming.status import RewindTo, Rewound
from tests.replay.kept_history import keep_history
from tests.replay.record_etl import SCENARIOS as ETL_SCENARIOS
from tests.stack_rig import StreamOnStack, fill, sales_spec

CUSTOMERS = {"referenced": 10_000, "many_keys": 2_000_000}
"""Scenarios that group by customer; others have a few."""


@dataclass
class Recorder:
    """One stream after another on one stack."""

    settings: Settings
    client: Client

    async def stream(
        self,
        name: str,
        events: int,
        max_records: int,
        group_by: str = "category",
        rate: float = 20,
    ) -> StreamOnStack:
        """Fill a topic and make a stream over it, into ClickHouse and TimescaleDB."""
        await self.fill(name, events, rate=rate)
        spec = sales_spec(self.settings, name, f"{name}-events", max_records)
        table = name.replace("-", "_")
        sinks = [
            SinkSpec(kind="clickhouse", table=table),
            SinkSpec(kind="timescaledb", table=table),
        ]
        return StreamOnStack(
            self.settings, spec.model_copy(update={"sinks": sinks, "group_by": [group_by]})
        )

    async def fill(
        self, name: str, events: int, after_s: int = 0, rate: float = 20, start_ms: int = START_MS
    ) -> None:
        """Append events, `rate` a second of event time, to a stream's topic."""
        shape = SalesShape(
            events,
            seed=after_s + 1,
            rate=rate,
            malformed=0.003,
            topic=f"{name}-events",
            partitions=3,
            start_ms=start_ms + after_s * 1_000,
            customers=CUSTOMERS.get(name, 5),
            products=3,
        )
        await fill(self.settings, shape)

    async def save(self, spec: StreamSpec, name: str, run_id: str) -> str | None:
        """Keep the history of one run; gives the run that it continued as."""
        return await keep_history(self.client, stream_workflow_id(spec.name), name, run_id)


async def bounded(recorder: Recorder) -> None:
    """Read to the pinned end, malformed records included."""
    stream = await recorder.stream("bounded", 8_000, 500)
    await stream.start()
    await stream.handle.result()
    await recorder.save(stream.spec, "bounded", stream.run_id)


async def expanded(recorder: Recorder) -> None:
    """Make several rows of a record, derive from them and leave some out."""
    stream = await recorder.stream("expanded", 6_000, 500, group_by="part")
    steps = [
        Step(expand={"part": "unnest(string_split(category, 'o'))"}),
        Step(derive={"letters": "len(part)"}),
        Step(where="letters > 1"),
    ]
    stream.spec = stream.spec.model_copy(update={"transform": steps})
    await stream.start()
    await stream.handle.result()
    await recorder.save(stream.spec, "expanded", stream.run_id)


async def paused(recorder: Recorder) -> None:
    """Pause in the middle, resume, drain."""
    stream = await recorder.stream("paused", 6_000, 500)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed > 0)
    await stream.handle.signal("pause")
    await stream.until(lambda s: s.state == "paused")
    await recorder.fill("paused", 2_000, after_s=300)
    await stream.handle.signal("resume")
    await stream.until(lambda s: s.ledger.consumed == 8_000)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await recorder.save(stream.spec, "paused", stream.run_id)


async def drained(recorder: Recorder) -> None:
    """Drain, start again from the saved state, stop while ranges are in flight."""
    stream = await recorder.stream("drained", 4_000, 500)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed > 0)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await recorder.save(stream.spec, "drained-first", stream.run_id)
    await recorder.fill("drained", 16_000, after_s=200)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed > 4_000)
    await stream.handle.signal("stop")
    await stream.handle.result()
    await recorder.save(stream.spec, "drained-second", stream.run_id)


async def continued(recorder: Recorder) -> None:
    """Continue as new several times in the middle."""
    stream = await recorder.stream("continued", 8_000, 500)
    await stream.start(history_events=40)
    await stream.handle.result()
    await save_chain(recorder, stream, "continued")


async def save_chain(recorder: Recorder, stream: StreamOnStack, name: str) -> None:
    """Keep the histories of all runs of a stream that continued as new."""
    run_id: str | None = stream.run_id
    number = 1
    while run_id is not None:
        run_id = await recorder.save(stream.spec, f"{name}-{number}", run_id)
        number += 1


async def refused(recorder: Recorder) -> None:
    """Pause because a table lost a column, and go on once it is back."""
    await lose_a_column(recorder, "refused", 6_000)


async def alerted(recorder: Recorder) -> None:
    """Raise an alert because a table lost a column, and end it once it is back."""
    await lose_a_column(recorder, "alerted", 4_000)


async def lose_a_column(recorder: Recorder, name: str, events: int) -> None:
    """Run into a table without one of its columns, give it back and drain."""
    stream = await recorder.stream(name, events, 1_000)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.flush_seq > 0 and s.pending_flushes == 0)
    await alter(recorder.settings, f"ALTER TABLE {name} RENAME COLUMN revenue TO lost")
    await recorder.fill(name, events, after_s=300)
    await stream.until(lambda s: s.state == "paused")
    await alter(recorder.settings, f"ALTER TABLE {name} RENAME COLUMN lost TO revenue")
    await stream.handle.signal("resume")
    await stream.until(lambda s: s.ledger.consumed == 2 * events and s.pending_flushes == 0)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await recorder.save(stream.spec, name, stream.run_id)


async def rewound(recorder: Recorder) -> None:
    """Go back to a time while flushes are on their way, and again while paused; then drain."""
    stream = await recorder.stream("rewound", 6_000, 500)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed == 6_000 and s.flush_seq > 0)
    to = RewindTo(time_ms=START_MS + 100_000)
    await stream.handle.execute_update("rewind", to, result_type=Rewound)
    await stream.until(lambda s: s.epoch == 2 and s.target_lag == 0 and s.flush_seq > 0)
    await stream.handle.signal("pause")
    await stream.until(lambda s: s.state == "paused")
    offsets = RewindTo(offsets={0: 1_000})
    await stream.handle.execute_update("rewind", offsets, result_type=Rewound)
    await stream.handle.signal("resume")
    await stream.until(lambda s: s.epoch == 3 and s.target_lag == 0 and s.ledger.consumed > 0)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await recorder.save(stream.spec, "rewound", stream.run_id)


async def referenced(recorder: Recorder) -> None:
    """Group by customer, so that partials and flushes travel by reference."""
    stream = await recorder.stream("referenced", 40_000, 5_000, group_by="customer_id")
    await stream.start()
    await stream.handle.result()
    await recorder.save(stream.spec, "referenced", stream.run_id)


async def raw(recorder: Recorder) -> None:
    """Deliver every event, stop in the middle, go on to the pinned end and continue as new."""
    stream = await recorder.stream("raw", 12_000, 500)
    changes: dict[str, object] = {"window": None, "group_by": [], "aggregate": {}, "late": Late()}
    stream.spec = stream.spec.model_copy(update=changes)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed > 0)
    await stream.handle.signal("stop")
    await stream.handle.result()
    await recorder.save(stream.spec, "raw-1", stream.run_id)
    await recorder.fill("raw", 4_000, after_s=600)
    await stream.start(history_events=150)
    await stream.handle.result()
    run_id: str | None = stream.run_id
    number = 2
    while run_id is not None:
        run_id = await recorder.save(stream.spec, f"raw-{number}", run_id)
        number += 1


async def days(recorder: Recorder) -> None:
    """Days of a zone, over the night in which its clock was changed; continued as new."""
    stream = await recorder.stream("days", 0, 500)
    window = Window(kind="tumbling", size_ms=86_400_000, timezone="Europe/Berlin")
    stream.spec = stream.spec.model_copy(update={"window": window})
    march_ms = 1_774_569_600_000  # 2026-03-27
    await recorder.fill("days", 8_000, rate=8_000 / (5 * 86_400), start_ms=march_ms)
    await stream.start(history_events=60)
    await stream.handle.result()
    await save_chain(recorder, stream, "days")


async def sessions(recorder: Recorder) -> None:
    """Show sessions by customer, then let them grow together, and drain."""
    stream = await recorder.stream("sessions", 2_000, 500, group_by="customer_id")
    window = Window(kind="session", size_ms=1_000, max_length_ms=60_000)
    changes = {"window": window, "late": Late(allowed_ms=3_600_000)}
    stream.spec = stream.spec.model_copy(update=changes)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.flush_seq > 0 and s.pending_flushes == 0)
    await recorder.fill("sessions", 2_000, after_s=50)
    await stream.until(lambda s: s.ledger.consumed == 4_000 and s.pending_flushes == 0)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await recorder.save(stream.spec, "sessions", stream.run_id)


async def many_keys(recorder: Recorder) -> None:
    """So many customers that the state is cut into key ranges."""
    stream = await recorder.stream("many_keys", 480_000, 25_000, group_by="customer_id", rate=4_000)
    await stream.start()
    await stream.handle.result()
    await recorder.save(stream.spec, "many-keys", stream.run_id)


async def early(recorder: Recorder) -> None:
    """Show open windows early, close them by the clock once the topic is quiet, correct them."""
    stream = await recorder.stream("early", 1_000, 500)
    quiet = stream.spec.event_time.model_copy(update={"close_after_ms": 3_000})
    changes = {"emit_updates_ms": 1_000, "event_time": quiet}
    stream.spec = stream.spec.model_copy(update=changes)
    await stream.start(until_latest=False, history_events=60)
    await stream.until(lambda s: s.ledger.consumed == 1_000 and s.flush_seq >= 2)
    await recorder.fill("early", 1_000, after_s=50)
    await stream.until(lambda s: s.ledger.consumed == 2_000 and s.flush_seq >= 4)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await save_chain(recorder, stream, "early")


async def deduplicated(recorder: Recorder) -> None:
    """Count copies once: stop in the middle, then go on, continued as new, to the pinned end."""
    stream = await recorder.stream("deduplicated", 6_000, 500)
    options = Deduplicate(by=["event_id"], within_ms=3_600_000)
    stream.spec = stream.spec.model_copy(update={"deduplicate": options})
    await recorder.fill("deduplicated", 3_000)
    await stream.start(until_latest=False)
    await stream.until(lambda s: s.ledger.consumed > 0)
    await stream.handle.signal("stop")
    await stream.handle.result()
    await recorder.save(stream.spec, "deduplicated-first", stream.run_id)
    await stream.start(history_events=80)
    result = await stream.handle.result()
    if result.ledger.duplicate < 2_900 or not result.ledger.balanced:
        raise RuntimeError(f"expected about 3,000 duplicates, got {result.ledger}")
    await save_chain(recorder, stream, "deduplicated")


async def kept(recorder: Recorder) -> None:
    """Write into Kafka, whose committed version is kept alive; pause, resume, continue as new."""
    stream = await recorder.stream("kept", 4_000, 500)
    sinks = [*stream.spec.sinks[:1], SinkSpec(kind="kafka", table="kept-view")]
    stream.spec = stream.spec.model_copy(update={"sinks": sinks})
    await stream.start(until_latest=False, history_events=60)
    await stream.until(lambda s: s.ledger.consumed == 4_000)
    await stream.handle.signal("pause")
    await stream.until(lambda s: s.state == "paused")
    await recorder.fill("kept", 2_000, after_s=300)
    await stream.handle.signal("resume")
    await stream.until(lambda s: s.ledger.consumed == 6_000)
    await stream.handle.signal("drain")
    await stream.handle.result()
    await save_chain(recorder, stream, "kept")


async def alter(settings: Settings, statement: str) -> None:
    """Change a table behind the sink's back."""
    dsn = settings.timescaledb.dsn
    connection = await asyncpg.connect(dsn.get_secret_value() if dsn else "")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


SCENARIOS: dict[str, Callable[[Recorder], Awaitable[None]]] = {
    one.__name__: one
    for one in (
        bounded,
        expanded,
        paused,
        drained,
        continued,
        refused,
        alerted,
        referenced,
        raw,
        days,
        sessions,
        rewound,
        many_keys,
        early,
        deduplicated,
        kept,
    )
}


async def record(settings: Settings, names: list[str]) -> None:
    """Run scenarios on a running stack."""
    recorder = Recorder(settings, await connect(settings.temporal))
    for name in names:
        if name in ETL_SCENARIOS:
            await ETL_SCENARIOS[name](settings, recorder.client)
        else:
            await SCENARIOS[name](recorder)


def main() -> None:
    """Start a stack of its own, record, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[[], *SCENARIOS, *ETL_SCENARIOS], help="all if none is named"
    )
    names = parser.parse_args().names or [*SCENARIOS, *ETL_SCENARIOS]
    folder = Path(tempfile.mkdtemp(prefix="sluice-record-"))
    folder.chmod(0o755)
    worker = WorkerSettings(processes=2)
    settings = Settings(project_dir=folder, data_dir=folder / ".sluice", worker=worker)
    try:
        devstack.up(settings)
        asyncio.run(record(devstack.with_embedded_addresses(settings), names))
    finally:
        devstack.down(settings, delete_data=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
