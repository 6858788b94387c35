import asyncio
import json
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batch.chunk import CursorWindow
from common.errors import SourceRefusedError
from pipelines.etl_source import FileSource
from tests.unit.source.source_case import read_files, source_of

MOMENT = datetime(2026, 5, 1, 0, 0, 0, 123_456, tzinfo=UTC)


async def test_types_are_those_of_the_file(tmp_path: Path) -> None:
    columns: dict[str, tuple[pa.Array, str, object]] = {
        "tiny": (pa.array([1, None], pa.int8()), "int32?", 1),
        "big": (pa.array([2**40, None], pa.int64()), "int64?", 2**40),
        "huge": (pa.array([2**64 - 1, None], pa.uint64()), "decimal(20,0)?", Decimal(2**64 - 1)),
        "half": (pa.array([0.5, None], pa.float32()), "float64?", 0.5),
        "on": (pa.array([True, None]), "bool?", True),
        "name": (pa.array(["ä", None], pa.large_string()), "string?", "ä"),
        "kind": (pa.array(["k", None]).dictionary_encode(), "string?", "k"),
        "price": (
            pa.array([Decimal("1.10"), None], pa.decimal128(38, 2)), "decimal(38,2)?",
            Decimal("1.10"),
        ),
        "day": (pa.array([date(2026, 5, 1), None]), "date?", date(2026, 5, 1)),
        "at": (pa.array([MOMENT, None], pa.timestamp("us", "UTC")), "timestamp(6)?", MOMENT),
        "there": (
            pa.array([MOMENT, None], pa.timestamp("us", "Europe/Berlin")), "timestamp(6)?", MOMENT,
        ),
        "nano": (pa.array([1, None], pa.timestamp("ns", "UTC")), "timestamp(6)?",
                 datetime(1970, 1, 1, tzinfo=UTC)),
        "tags": (pa.array([["a", None], None]), "list<string?>?", ["a", None]),
        "days": (pa.array([[date(2026, 5, 1)], None]), "list<date?>?", [date(2026, 5, 1)]),
        "id": (
            pa.array([UUID(int=10).bytes, None], pa.uuid()), "uuid?", str(UUID(int=10)),
        ),
        "none": (pa.nulls(2), "string?", None),
    }  # fmt: skip
    table = pa.table(
        {name: array for name, (array, _, _) in columns.items()}
        | {"raw": pa.array([b"x", None]), "nested": pa.array([{"a": 1}, None])}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    read = await read_files(tmp_path, "x.parquet", "parquet")
    assert read.shape.columns == {name: kind for name, (_, kind, _) in columns.items()}
    assert read.rows == [
        {name: value for name, (_, _, value) in columns.items()}, dict.fromkeys(columns),
    ]  # fmt: skip
    assert sum("no field type holds it" in note for note in read.shape.notes) == 2
    assert any("nanoseconds" in note for note in read.shape.notes)


@settings(max_examples=40)
@given(
    values=st.lists(st.integers(-(2**40), 2**40) | st.none(), max_size=60),
    group=st.integers(1, 20),
    chunk_rows=st.integers(1, 40),
    block_bytes=st.integers(1, 500),
)
def test_any_cut_gives_every_row_once(
    values: list[int | None], group: int, chunk_rows: int, block_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        table = pa.table({"n": pa.array(values, pa.int64())})
        parquet.write_table(table, Path(name) / "x.parquet", row_group_size=group)
        read = asyncio.run(
            read_files(
                Path(name), "x.parquet", "parquet", chunk_rows=chunk_rows, block_bytes=block_bytes
            )
        )
        strict = asyncio.run(
            read_files(Path(name), "x.parquet", "parquet", {"n": "int32"}, chunk_rows, block_bytes)
        )
    assert [row["n"] for row in read.rows] == values
    fitting = [n for n in values if n is not None and -(2**31) <= n < 2**31]
    assert [row["n"] for row in strict.rows] == fitting
    assert [json.loads(row["content"])["n"] for row in strict.unreadable] == [
        None if n is None else str(n) for n in values if n is None or not -(2**31) <= n < 2**31
    ]


async def test_declared_types_are_converted_strictly(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "text": ["1.50", "1.505", "2"],
            "ratio": [1.0, 2.0, 2.5],
            "day": [date(2026, 5, 1), date(2026, 5, 2), date(1800, 1, 1)],
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    fields = {"text": "decimal(5,2)", "ratio": "int32", "day": "date"}
    read = await read_files(tmp_path, "x.parquet", "parquet", fields)
    assert read.rows == [{"text": Decimal("1.50"), "ratio": 1, "day": date(2026, 5, 1)}]
    assert [row["field"] for row in read.unreadable] == ["text", "ratio"]
    assert read.reasons()[0].endswith("(x.parquet from row group 0, row 1)")


async def test_files_may_differ_where_one_type_holds_both(tmp_path: Path) -> None:
    pl.DataFrame({"n": pl.Series([1], dtype=pl.Int32)}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"n": [2**40], "m": [1]}).write_parquet(tmp_path / "b.parquet")
    read = await read_files(tmp_path, "*.parquet", "parquet")
    assert read.shape.columns == {"n": "int64?", "m": "int64?"}
    assert read.rows == [{"n": 1, "m": None}, {"n": 2**40, "m": 1}]
    pl.DataFrame({"n": ["x"]}).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(SourceRefusedError, match=r"c\.parquet`: expected `int64\?` in column `n`"):
        await read_files(tmp_path, "*.parquet", "parquet")


async def test_times_on_the_wall_need_a_zone(tmp_path: Path) -> None:
    wall = datetime(2026, 7, 1, 12)  # noqa: DTZ001 (a time on the wall is what is tested)
    gap = datetime(2026, 3, 29, 2, 30)  # noqa: DTZ001 (there is no such time in Berlin)
    for unit in ("ms", "us", "ns"):
        frame = pl.DataFrame({"at": [wall, gap]}, schema={"at": pl.Datetime(unit)})
        frame.write_parquet(tmp_path / "x.parquet")
        with pytest.raises(SourceRefusedError, match="expected times with a zone in column `at`"):
            await read_files(tmp_path, "x.parquet", "parquet")
        read = await read_files(tmp_path, "x.parquet", "parquet", timezone="Europe/Berlin")
        assert read.rows == [{"at": datetime(2026, 7, 1, 10, tzinfo=UTC)}]
        assert "2026-03-29 02:30" in read.reasons()[0]


async def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("a\n1\n")
    with pytest.raises(SourceRefusedError, match=r"x\.parquet`: expected Parquet, got a mistake"):
        await read_files(tmp_path, "x.parquet", "parquet")
    with pytest.raises(SourceRefusedError, match="expected none with Parquet"):
        await read_files(tmp_path, "x.parquet", "parquet", compression="gzip")


async def test_blocks_stay_small_where_values_repeat(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"t": ["x" * 100] * 50_000}), tmp_path / "x.parquet")
    source = source_of(tmp_path, FileSource(url="x.parquet", format="parquet"))
    shape = await source.describe()
    [chunk] = await source.plan(shape, CursorWindow(), 250_000)
    sizes = [
        block.rows.num_rows async for block in source.read(shape, CursorWindow(), chunk, 16_000)
    ]
    assert sum(sizes) == 50_000
    assert max(sizes) <= 1_000
