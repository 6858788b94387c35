"""Records per second that one core decodes, beside polars' own JSON reader on the same bytes.

Prints one JSON line per scenario. Run it as `python -m benchmarks.decode_micro [SCENARIO]`.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"

import io
import json
import random
import resource
import sys
import time
import uuid
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from contracts.field_type_parse import parse_field_type
from streaming.decode import RecordDecoder, warm_up
from streaming.record_block import RecordBlock

RECORDS = 100_000
BLOCKS = 5
ROUNDS = 3
CATEGORIES = ("books", "electronics", "clothing", "home", "toys", "sports", "grocery", "beauty")
SALES = {
    "event_id": "string",
    "timestamp": "timestamp_ms",
    "category": "string",
    "customer_id": "int64",
    "product_id": "int64",
    "amount": "decimal(12,2)",
}
WANTED = {"timestamp", "category", "customer_id", "product_id", "amount"}
NOW_MS = 1_760_000_000_000
JSON_TYPES = {
    "timestamp": pl.Int64,
    "category": pl.String,
    "customer_id": pl.Int64,
    "product_id": pl.Int64,
    "amount": pl.Float64,
}


def sales_value(rng: random.Random, index: int, *, spaced: bool = False) -> bytes:
    """Make one sales record, compact or as `json.dumps` writes it by default."""
    record = {
        "event_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "timestamp": 1_750_000_000_000 + index * 3,
        "category": rng.choice(CATEGORIES),
        "customer_id": rng.randrange(1, 100_000),
        "product_id": rng.randrange(1, 5_000),
        "amount": rng.randrange(1, 50_000) / 100,
    }
    return json.dumps(record, separators=None if spaced else (",", ":")).encode()


def block_of(values: list[bytes]) -> RecordBlock:
    """Lay records out as a fetched block, newline-joined: both readers see the same bytes."""
    size = np.array([len(value) for value in values], dtype=np.int32)
    start = np.concatenate([[0], np.cumsum(size[:-1] + 1)]).astype(np.int64)
    buffer = np.frombuffer(bytearray(b"\n".join(values)), dtype=np.uint8)
    offset = np.arange(len(values), dtype=np.int64)
    none = np.full(len(values), -1, dtype=np.int32)
    return RecordBlock("sales", 0, buffer, offset, offset, start, size, start, none)


def best_seconds(task: Callable[[], object]) -> float:
    """Least processor time of a few rounds, in seconds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        task()
        times.append(time.process_time() - started)
    return min(times)


def report(scenario: str, seconds: float, polars_seconds: float | None = None) -> None:
    """Print a scenario's line."""
    line: dict[str, object] = {
        "scenario": scenario,
        "value": round(RECORDS * BLOCKS / seconds),
        "unit": "records/s/core",
        "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        * (1 if sys.platform == "darwin" else 1024),
    }
    if polars_seconds is not None:
        line |= {"ratio": round(polars_seconds / seconds, 2), "against": "polars.read_ndjson"}
    print(json.dumps(line), flush=True)


def run(scenario: str) -> None:
    """Measure one scenario."""
    rng = random.Random(7)
    spaced = scenario == "decode-sales-spaced"
    values = [sales_value(rng, i, spaced=spaced) for i in range(RECORDS * BLOCKS)]
    clean = [block_of(values[i * RECORDS : (i + 1) * RECORDS]) for i in range(BLOCKS)]
    texts = [block.buffer.tobytes() for block in clean]
    if scenario == "decode-sales-malformed":
        for i in range(0, len(values), 200):
            values[i] = (
                values[i][:-7] if i % 400 else values[i].replace(b'"amount":', b'"amount":"')
            )
        clean = [block_of(values[i * RECORDS : (i + 1) * RECORDS]) for i in range(BLOCKS)]
    wanted = set(SALES) if scenario == "decode-sales-all" else WANTED
    fields = {name: parse_field_type(text) for name, text in SALES.items()}
    decoder = RecordDecoder(fields, wanted, "timestamp", 3_600_000)
    seconds = best_seconds(lambda: [decoder.decode(block, NOW_MS) for block in clean])
    schema = JSON_TYPES | ({"event_id": pl.String} if scenario == "decode-sales-all" else {})
    other = best_seconds(
        lambda: [pl.read_ndjson(io.BytesIO(text), schema=schema) for text in texts]
    )
    report(scenario, seconds, other)


SCENARIOS = (
    "decode-sales", "decode-sales-spaced", "decode-sales-all", "decode-sales-malformed",
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run the scenarios that were asked for, or all."""
    asked = arguments or SCENARIOS
    if unknown := set(asked) - set(SCENARIOS):
        sys.exit(f"scenario `{min(unknown)}`: expected one of {', '.join(SCENARIOS)}")
    warm_up()
    for scenario in asked:
        run(scenario)


if __name__ == "__main__":
    main(sys.argv[1:])
