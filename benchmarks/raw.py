"""`raw`: every event as a row of ClickHouse and of PostgreSQL."""

from benchmarks.bench_stack import BenchStack
from benchmarks.line import Line, emit, median, say
from benchmarks.options import Options
from benchmarks.sales import Run, fill, load_of, run_once, stages
from pipelines.load import find_pipeline, load_stream
from pipelines.stream import SinkSpec, StreamSpec

CASES = {
    "raw-clickhouse": ("clickhouse",),
    "raw-postgres": ("postgres",),
    "raw": ("clickhouse", "postgres"),
}
"""Names to sinks; the last one is explained by stages."""


async def raw(stack: BenchStack, options: Options) -> None:
    """Measure each case, its rounds in turn with those of the others, and print a line for each."""
    topic = await fill(stack.settings, options)
    shipped = load_stream(find_pipeline("sales-raw", stack.settings.project_dir))
    runs: dict[str, list[Run]] = {name: [] for name in CASES}
    for number in range(options.rounds):
        for name, sinks in CASES.items():
            spec = _spec(shipped, topic, f"{name}-{number}", sinks, options.max_records)
            run = await run_once(stack, spec, options.events)
            runs[name].append(run)
            say(f"round {number + 1}: {name} {run.events_per_s:,.0f} events/s; {load_of(run)}")
    for name, found in runs.items():
        values = [run.events_per_s for run in found]
        memory = max(run.usage.peak_of(stack.compute_workers()) for run in found)
        notes = {
            "events": options.events, "cores": len(stack.cores),
            "load_others": round(
                max(run.usage.others_cpu_s / run.usage.seconds for run in found), 2
            ),
        }  # fmt: skip
        emit(Line(name, median(values), "events/s", memory, rounds=values, notes=notes))
    stages(stack, runs["raw"][-1])


def _spec(
    shipped: StreamSpec, topic: str, name: str, sinks: tuple[str, ...], max_records: int | None
) -> StreamSpec:
    """Give the shipped stream tables that are new in each round, so that rows meet no others."""
    table = f"bench_{name}".replace("-", "_")
    update: dict[str, object] = {
        "name": f"bench-{name}",
        "topic": topic,
        "sinks": [SinkSpec.model_validate({"kind": kind, "table": table}) for kind in sinks],
    }
    if max_records is not None:
        update["trigger"] = shipped.trigger.model_copy(update={"max_records": max_records})
    return shipped.model_copy(update=update)
