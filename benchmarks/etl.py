"""`etl`: a table of PostgreSQL into ClickHouse and PostgreSQL, beside a bare copy and peers."""

import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from temporalio.client import WorkflowHandle

from benchmarks.bench_stack import BenchStack
from benchmarks.etl_limit import copy_to_clickhouse, copy_to_postgres
from benchmarks.etl_peer import Peer, PeerFailedError, find_peers, run_peer
from benchmarks.etl_table import (
    Table,
    clickhouse_command,
    clickhouse_sums,
    drop_table,
    fill_table,
    postgres_sums,
    require_same,
)
from benchmarks.history import activity_spans, sums
from benchmarks.line import Line, emit, median, say
from benchmarks.machine import Usage, watched
from benchmarks.options import Options
from common.names import ETL_QUEUE, etl_prefix, etl_workflow_id
from connectors.object_store import ObstoreStore
from connectors.sinks import lake_url
from connectors.temporal import connect
from pipelines.etl import BatchLimits, EtlSpec, Target, WriteMode
from pipelines.etl_source import PostgresSource
from workflows.etl_input import ETL_WORKFLOW, EtlInput, EtlResult

NAME = "bench-etl"
OWN = "benchmark"
"""Process of the benchmark itself among those that are watched."""

Kind = Literal["postgres", "clickhouse"]


@dataclass
class Case:
    """One way of loading the table.

    Attributes:
        limit: Name of the bare copy that it is compared with.
        ours: Whether the workers do it.
        failed: Why it has no figure.
    """

    name: str
    kind: Kind
    load: Callable[[str], Awaitable[object]]
    limit: str | None = None
    ours: bool = False
    rates: list[float] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    memory_bytes: int = 0
    failed: str = ""


async def etl(stack: BenchStack, options: Options) -> None:
    """Run every way once in each round, and print a line for each."""
    table = await fill_table(stack.settings, options.rows)
    bench = _Bench(stack, table, options)
    cases = [
        case
        for case in bench.cases(find_peers(options.peers))
        if options.only is None or case.name in options.only
    ]
    for number in range(options.rounds):
        for case in cases:
            if case.failed or not await bench.run(case):
                continue
            load = case.usages[-1].others_cpu_s / case.usages[-1].seconds
            say(
                f"round {number + 1}: {case.name} {case.rates[-1]:,.0f} rows/s, "
                f"{case.memory_bytes >> 20} MB; others used {load:.1f} cores"
            )
    by_name = {case.name: case for case in cases}
    for case in cases:
        if case.failed:
            emit(Line(case.name, 0, "rows/s", 0, notes={"failed": case.failed, "rows": table.rows}))
            continue
        against = by_name.get(case.limit or "")
        ratio = median(_ratios(case, against)) if against is not None else None
        notes = {
            "rows": table.rows, "cores": len(stack.cores),
            "load_others": round(max(one.others_cpu_s / one.seconds for one in case.usages), 2),
            "core_s_per_1m": round(
                median([sum(one.cpu_s.values()) for one in case.usages]) / table.rows * 1e6, 2
            ),
        }  # fmt: skip
        emit(
            Line(
                case.name, median(case.rates), "rows/s", case.memory_bytes, ratio, case.limit,
                case.rates, notes,
            )
        )  # fmt: skip


def _ratios(case: Case, against: Case) -> list[float]:
    """Compare within each round: what else runs on the machine changes from round to round."""
    return [own / other for own, other in zip(case.rates, against.rates, strict=True)]


class _Bench:
    """Loads the table in every way, each time into a table of its own that is dropped."""

    def __init__(self, stack: BenchStack, table: Table, options: Options) -> None:
        self._stack, self._table, self._options = stack, table, options
        self._peer_bytes = 0

    def cases(self, peers: list[Peer]) -> list[Case]:
        """List the ways, bare copies first."""
        streams = self._options.parallelism
        found: list[Case] = []
        kinds: tuple[Kind, ...] = ("postgres", "clickhouse")
        for kind in kinds:
            bare = "etl-copy" if kind == "postgres" else "etl-insert"
            found += [
                Case(bare, kind, self._bare(kind, 1)),
                Case(f"{bare}-{streams}", kind, self._bare(kind, streams), bare),
                Case(f"etl-{kind}-append", kind, self._ours(kind, "append"), bare, ours=True),
                Case(f"etl-{kind}-merge", kind, self._ours(kind, "merge"), bare, ours=True),
            ]
            found += [
                Case(f"etl-{kind}-{peer.name}", kind, self._peer(peer), bare)
                for peer in peers
                if kind == "postgres"
            ]
        return found

    async def run(self, case: Case) -> bool:
        """Load the table once, and refuse a copy that is not whole; False if a peer has failed."""
        target = f"bench_{uuid.uuid4().hex[:12]}"
        pids = self._stack.pids() | {OWN: os.getpid()}
        async with watched(pids) as usage:
            started = time.perf_counter()
            try:
                await case.load(target)
            except PeerFailedError as error:
                case.failed = str(error)
            seconds = time.perf_counter() - started
        if case.failed:
            say(case.failed)
            await drop_table(self._table.dsn, target)
            return False
        case.rates.append(self._table.rows / seconds)
        case.usages.append(usage)
        names = self._stack.compute_workers() if case.ours else [OWN]
        own, self._peer_bytes = self._peer_bytes or usage.peak_of(names), 0
        case.memory_bytes = max(case.memory_bytes, own)
        await self._check_and_drop(case, target)
        return True

    async def _check_and_drop(self, case: Case, target: str) -> None:
        settings = self._stack.settings
        shown = f"{target}_final" if case.ours else target
        if case.kind == "postgres":
            require_same(self._table, await postgres_sums(self._table.dsn, shown), case.name)
            await drop_table(self._table.dsn, target)
        else:
            require_same(self._table, await clickhouse_sums(settings, shown), case.name)
            drops = [f"DROP VIEW IF EXISTS {shown}"] if case.ours else []
            await clickhouse_command(settings, *drops, f"DROP TABLE IF EXISTS {target} SYNC")
        lake = ObstoreStore(lake_url(settings), settings.object_store)
        await lake.delete(await lake.keys(f"{etl_prefix(NAME)}/"))

    def _bare(self, kind: Kind, streams: int) -> Callable[[str], Awaitable[object]]:
        async def load(target: str) -> None:
            if kind == "postgres":
                await copy_to_postgres(self._table, target, streams)
            else:
                await copy_to_clickhouse(self._stack.settings, self._table, target, streams)

        return load

    def _ours(self, kind: Kind, mode: WriteMode) -> Callable[[str], Awaitable[object]]:
        async def load(target: str) -> None:
            key = ["id"] if mode == "merge" else []
            spec = EtlSpec(
                name=NAME,
                source=PostgresSource(table=self._table.name),
                targets=[Target(kind=kind, table=target, mode=mode, key=key)],
                limits=BatchLimits(parallelism=self._options.parallelism),
            )
            client = await connect(self._stack.settings.temporal)
            handle: WorkflowHandle[object, EtlResult] = await client.start_workflow(
                ETL_WORKFLOW, EtlInput(spec=spec), id=etl_workflow_id(NAME),
                task_queue=ETL_QUEUE, result_type=EtlResult,
            )  # fmt: skip
            result = await handle.result()
            if result.state != "published" or result.ledger.loaded != self._table.rows:
                raise ValueError(f"etl: expected {self._table.rows} rows published, got {result}")
            events = [event async for event in handle.fetch_history_events()]
            spans = [span for span, _ in activity_spans(events)]
            for name, total in sums(spans).items():
                say(
                    f"  {name}: {total.count} times, waited {total.waited_s:.2f} s, "
                    f"worked {total.worked_s:.2f} s"
                )

        return load

    def _peer(self, peer: Peer) -> Callable[[str], Awaitable[object]]:
        async def load(target: str) -> None:
            self._peer_bytes = await run_peer(peer, self._table, target)

        return load
