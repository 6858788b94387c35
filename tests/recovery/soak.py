"""Random streams whose workers die at random moments, for as long as wanted.

`python -m tests.recovery.soak --minutes 60 --seed 1` starts a stack of its own, prints a line for
each round, and ends with 1 at the first view that differs from what DuckDB computes.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common.settings import Settings, WorkerSettings
from devstack import stack as devstack
from devstack.sample.sales import SalesShape
from pipelines.stream import Trigger, Window
from starter.compare import compare
from tests.recovery.crash_moment import MOMENTS
from tests.recovery.crash_run import Death, apart, run_through
from tests.recovery.expected_view import AGGREGATES, expected_view
from tests.stack_rig import KINDS, StreamOnStack, fill, raw_values, sales_spec

PARTITIONS = (1, 3, 4, 9)
WINDOWS = (
    Window(kind="tumbling", size_ms=60_000),
    Window(kind="tumbling", size_ms=7_000, offset_ms=-3_000),
    Window(kind="sliding", size_ms=60_000, slide_ms=10_000),
    Window(kind="sliding", size_ms=10_000, slide_ms=7_000),
    Window(kind="session", size_ms=900),
    Window(kind="session", size_ms=5_000),
    Window(kind="tumbling", size_ms=86_400_000, timezone="Europe/Berlin"),
)
KEY_ROWS = (0, 16, 200)


async def soak_round(settings: Settings, seed: int) -> str:
    """Run one random stream through random deaths; gives what differs, or nothing."""
    chance = random.Random(seed)
    topic = f"soak-{seed}"
    events = chance.randint(5_000, 80_000)
    shape = SalesShape(
        events,
        seed=seed,
        rate=chance.choice([20.0, 100.0, 1_000.0]),
        malformed=chance.choice([0.0, 0.01, 0.3]),
        partitions=chance.choice(PARTITIONS),
        topic=topic,
    )
    await fill(settings, shape)
    window, key_rows = chance.choice(WINDOWS), chance.choice(KEY_ROWS)
    spec = sales_spec(settings, topic, topic, 1).model_copy(
        update={
            "window": window,
            "aggregate": AGGREGATES,
            "trigger": Trigger(interval_ms=50, max_records=chance.choice([300, 1_000, 20_000])),
        }
    )
    deaths = [
        Death(chance.choice(MOMENTS), chance.randint(1, 4)) for _ in range(chance.randint(1, 6))
    ]
    stream = StreamOnStack(await apart(settings), spec)
    began = time.monotonic()
    await stream.start(history_events=chance.choice([150, 8_000]))
    result, died = await run_through(stream, deaths, key_rows)
    expected = expected_view(await raw_values(settings, topic), window)
    differences = []
    if result.state != "completed" or not result.ledger.balanced or result.ledger.late:
        differences.append(f"{result.state}, ledger {result.ledger}")
    if result.ledger.consumed != events:
        differences.append(f"consumed {result.ledger.consumed:,} of {events:,}")
    for kind in KINDS:
        found = compare(expected, await stream.view(kind), stream.key)
        if found.different_rows:
            differences.append(f"{kind}: {found.different_rows} rows differ, {found.examples}")
    say(
        f"seed {seed}: {events:,} events, {window.kind} {window.size_ms} ms, "
        f"{died} deaths of {len(deaths)}, {expected.height:,} rows, "
        f"{time.monotonic() - began:.0f} s: {'different' if differences else 'equal'}"
    )
    return "\n".join(differences)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def soak(settings: Settings, minutes: float, seed: int) -> int:
    """Run rounds until the time is up; gives the exit code."""
    ends = time.monotonic() + minutes * 60
    while time.monotonic() < ends:
        difference = await soak_round(settings, seed)
        if difference:
            say(f"seed {seed} failed; again with `--seed {seed} --minutes 0.1`\n{difference}")
            return 1
        seed += 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a stack and soak."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long (30)")
    parser.add_argument("--seed", type=int, default=1, help="number of the first round (1)")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    folder.chmod(0o755)
    settings = Settings(
        project_dir=folder, data_dir=folder / ".sluice", worker=WorkerSettings(processes=1)
    )
    try:
        devstack.up(settings)
        there = devstack.with_embedded_addresses(settings)
        return asyncio.run(soak(there, given.minutes, given.seed))
    finally:
        devstack.down(settings, delete_data=True)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
