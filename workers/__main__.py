"""Entry point of a worker process.

`python -m workers --queues stream,stream-compute --name worker-1`
"""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # one process per core, and repeatable float sums

import argparse
import asyncio
import sys

from common.errors import SluiceError
from common.log import configure_logging
from common.settings_load import load_settings


def main() -> int:
    """Run until SIGTERM or SIGINT, then finish or hand back what is held."""
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("--queues", required=True, help="comma-separated task queues")
    parser.add_argument("--name", default="worker", help="name in logs and of the ready file")
    arguments = parser.parse_args()
    try:
        settings = load_settings()
        configure_logging(settings.log)
        from workers.process import serve  # noqa: PLC0415 - heavy; wrong settings are said at once

        asyncio.run(serve(settings, arguments.queues.split(","), arguments.name))
    except SluiceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
