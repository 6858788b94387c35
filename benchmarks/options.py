"""What the command line of the benchmarks says."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCENARIOS = {
    "sales-1m": "events/s from Kafka to the flushed final view in both sinks",
    "stages": "where the time of that goes",
    "windows": "sliding and session windows beside tumbling ones, over one topic",
    "raw": "every event as a row of ClickHouse and PostgreSQL, alone and together",
    "etl": "a table of PostgreSQL into ClickHouse and PostgreSQL, beside a bare COPY",
    "latency": "append of the record that ends a window to its row in the final view, light load",
    "keys": "merging and firing windows of 10 to 1,000,000 keys, and the memory for it",
    "consumer": "reading a topic in pinned ranges, beside aiokafka's consumer",
    "decode": "decoding JSON on one core, beside polars' reader",
}


@dataclass(frozen=True)
class Options:
    """Choices of one call.

    Attributes:
        scenarios: What to measure, in this order.
        stack: Folder of a stack that stays up afterwards; None starts one and deletes it.
        cores: Cores that everything shares.
        events: Size of the topic.
        rate: Events per second of event time.
        slots: Ranges, or chunks of `etl`, that one process works on at the same time; None takes
            the defaults.
        max_records: Size of a range; None takes the pipeline's.
        seconds: Duration of the latency measurement.
        rows: Rows of the table of `etl`.
        parallelism: Chunks of `etl` in flight, and streams of its bare copy.
        peers: Folder of other loaders' environments, made there where they are missing; None leaves
            them out.
        only: Lines of `etl` that are measured; None measures all.
    """

    scenarios: tuple[str, ...]
    stack: Path | None
    cores: int
    workers: int
    slots: int | None
    events: int
    rate: float
    rounds: int
    max_records: int | None
    seconds: float
    rows: int
    parallelism: int
    peers: Path | None
    only: tuple[str, ...] | None


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; exits with usage and code 2 when it is wrong."""
    listed = "\n".join(f"  {name:10} {text}" for name, text in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure; one JSON line per scenario on stdout, progress on stderr.",
        epilog=f"scenarios:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which; all by default")
    parser.add_argument("--stack", type=Path, help="folder of a stack that stays up afterwards")
    parser.add_argument("--cores", type=int, default=2, help="cores that everything shares (2)")
    parser.add_argument("--workers", type=int, default=2, help="compute processes (2)")
    parser.add_argument("--slots", type=int, help="ranges, or chunks of etl, at a time per process")
    parser.add_argument("--events", type=int, default=8_000_000, help="events (8,000,000)")
    parser.add_argument(
        "--rate", type=float, default=100.0, help="events per second of event time (100)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of sales-1m (3)")
    parser.add_argument(
        "--max-records", type=int, help="records of a range; the pipeline's by default"
    )
    parser.add_argument("--seconds", type=float, default=25.0, help="duration of latency (25)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of etl (5,000,000)")
    parser.add_argument("--parallelism", type=int, default=8, help="chunks at once of etl (8)")
    parser.add_argument(
        "--peers", type=Path, help="folder for other loaders of etl, installed there by pip"
    )
    parser.add_argument("--only", help="lines of etl to measure, by name, with commas between them")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.scenarios if name not in SCENARIOS]
    if unknown:
        parser.error(f"scenario `{unknown[0]}`: expected one of {', '.join(SCENARIOS)}")
    return Options(
        scenarios=tuple(given.scenarios) or tuple(SCENARIOS),
        stack=given.stack.resolve() if given.stack else None,
        cores=given.cores,
        workers=given.workers,
        slots=given.slots,
        events=given.events,
        rate=given.rate,
        rounds=given.rounds,
        max_records=given.max_records,
        seconds=given.seconds,
        rows=given.rows,
        parallelism=given.parallelism,
        peers=given.peers.resolve() if given.peers else None,
        only=tuple(given.only.split(",")) if given.only else None,
    )
