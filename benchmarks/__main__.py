"""Entry point: `python -m benchmarks [SCENARIO …]`, or `make bench SCENARIO=name`."""

import os
import sys

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import asyncio  # noqa: E402 - polars reads its setting when it is imported

from benchmarks.options import Options, parse  # noqa: E402


async def measure(options: Options) -> None:
    """Run the scenarios that need a stack, in the order asked for."""
    from benchmarks.bench_stack import bench_stack
    from benchmarks.line import say
    from benchmarks.machine import describe
    from benchmarks.sales import Run, measure_stages, sales

    runs: list[Run] = []
    with bench_stack(options.stack, options.workers) as stack:
        say(describe(stack.cores))
        for scenario in options.scenarios:
            if scenario == "sales-1m":
                runs = await sales(stack, options)
            elif scenario == "stages":
                await measure_stages(stack, options, runs)


def main() -> int:
    """Measure what the command line asks for."""
    from benchmarks.machine import pin

    options = parse(sys.argv[1:])
    pin(options.cores)
    if set(options.scenarios) - {"decode"}:
        asyncio.run(measure(options))
    if "decode" in options.scenarios:
        from benchmarks.decode_micro import main as decode

        decode([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
