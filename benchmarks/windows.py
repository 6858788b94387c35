"""`windows`: kinds of windows beside each other, in one run over one topic."""

from dataclasses import dataclass, replace

from benchmarks.bench_stack import BenchStack
from benchmarks.line import Line, emit, median, say
from benchmarks.options import Options
from benchmarks.sales import bench_spec, fill, run_once
from pipelines.stream import SinkSpec, StreamSpec, Window

RATE = 1_000.0
"""Events per second of event time: a sliding window of one second's slide then holds new events of
every category, and a session of a product ends after some twenty events."""


@dataclass(frozen=True)
class Case:
    """A stream to measure.

    Attributes:
        key: Field that groups; the generator has 12 categories and 5,000 products.
        copies: Windows that each event is in.
        against: Case that it is compared with.
    """

    name: str
    window: Window
    key: str
    copies: int = 1
    against: str | None = None


CASES = (
    Case("tumbling", Window(kind="tumbling", size_ms=60_000), "category"),
    Case(
        "sliding",
        Window(kind="sliding", size_ms=60_000, slide_ms=1_000),
        "category",
        copies=60,
        against="tumbling",
    ),
    Case("tumbling-products", Window(kind="tumbling", size_ms=60_000), "product_id"),
    Case(
        "session-products",
        Window(kind="session", size_ms=15_000),
        "product_id",
        against="tumbling-products",
    ),
)


async def windows(stack: BenchStack, options: Options) -> None:
    """Measure each case, its rounds in turn with those of the others, and print a line for each."""
    options = replace(options, rate=RATE)
    topic = await fill(stack.settings, options)
    shipped = bench_spec(stack.settings, topic, options.max_records)
    rates: dict[str, list[float]] = {case.name: [] for case in CASES}
    memory = dict.fromkeys(rates, 0)
    rows = dict.fromkeys(rates, 0)
    history = dict.fromkeys(rates, 0)
    for number in range(options.rounds):
        for case in CASES:
            run = await run_once(stack, _spec(shipped, case), options.events, case.copies)
            rates[case.name].append(run.events_per_s)
            peak = run.usage.peak_of(stack.compute_workers())
            memory[case.name] = max(memory[case.name], peak)
            rows[case.name] = run.result.flushed_rows
            history[case.name] = run.history_events
            say(f"round {number + 1}: {case.name} {run.events_per_s:,.0f} events/s")
    for case in CASES:
        value = median(rates[case.name])
        ratio = value / median(rates[case.against]) if case.against else None
        notes = {
            "events": options.events, "event_rate": RATE, "rows": rows[case.name],
            "cores": len(stack.cores), "history_events": history[case.name],
        }  # fmt: skip
        emit(
            Line(
                f"windows-{case.name}", value, "events/s", memory[case.name], ratio,
                case.against, rates[case.name], notes,
            )
        )  # fmt: skip


def _spec(shipped: StreamSpec, case: Case) -> StreamSpec:
    """Give the shipped stream other windows and another key, and tables of its own."""
    table = f"bench_{case.name}".replace("-", "_")
    return shipped.model_copy(
        update={
            "name": f"bench-{case.name}",
            "window": case.window,
            "group_by": [case.key],
            "aggregate": {n: text for n, text in shipped.aggregate.items() if case.key not in text},
            "sinks": [SinkSpec(kind=sink.kind, table=table) for sink in shipped.sinks],
        }
    )
