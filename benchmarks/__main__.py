"""Entry point: `python -m benchmarks [SCENARIO …]`, or `make bench SCENARIO=name`."""

import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when polars is imported

import asyncio

from benchmarks import decode_micro
from benchmarks.bench_stack import bench_stack
from benchmarks.consumer import consumer
from benchmarks.etl import etl
from benchmarks.keys import keys_alone, keys_on_stack
from benchmarks.latency import latency
from benchmarks.line import say
from benchmarks.machine import describe, pin
from benchmarks.options import Options, parse
from benchmarks.raw import raw
from benchmarks.sales import Run, measure_stages, sales
from benchmarks.windows import windows
from common.settings import WorkerSettings

ALONE = {"windows": windows, "raw": raw, "etl": etl, "latency": latency, "consumer": consumer}
"""Scenarios that need a stack and nothing of each other."""


async def measure(options: Options) -> None:
    """Run the scenarios that need a stack, in the order asked for."""
    runs: list[Run] = []
    worker = WorkerSettings(processes=options.workers)
    if options.slots is not None:
        worker = worker.model_copy(
            update={"range_slots": options.slots, "chunk_slots": options.slots}
        )
    with bench_stack(options.stack, worker) as stack:
        say(describe(stack.cores))
        for scenario in options.scenarios:
            if scenario == "sales-1m":
                runs = await sales(stack, options)
            elif scenario == "stages":
                await measure_stages(stack, options, runs)
            elif scenario == "keys":
                await keys_on_stack(stack)
            elif scenario in ALONE:
                await ALONE[scenario](stack, options)


def main() -> int:
    """Measure what the command line asks for."""
    options = parse(sys.argv[1:])
    pin(options.cores)
    if "keys" in options.scenarios:
        asyncio.run(keys_alone())
    if set(options.scenarios) - {"decode"}:
        asyncio.run(measure(options))
    if "decode" in options.scenarios:
        decode_micro.main([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
