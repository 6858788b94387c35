import asyncio
import csv
import gzip
import io
import json
import os
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batch.chunk import CursorWindow, Settled
from common.errors import SourceRefusedError
from pipelines.data_interval import parse_interval
from pipelines.etl_source import FileSource
from tests.unit.source.source_case import read_all, read_chunk, read_files, source_of

PACK = {"": lambda content: content, ".gz": gzip.compress, ".zst": zstd.compress}
CELL = st.text(alphabet="\"'\n\r,;ab 1äß😀\u2028", max_size=6)
LINE = st.lists(CELL, min_size=3, max_size=3) | st.lists(CELL, min_size=1, max_size=5)


def by_plain_python(text: str) -> tuple[list[list[str]], int]:
    """Give the rows of three values, and the number of others."""
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row][1:]
    good = [row for row in rows if len(row) == 3]
    return good, len(rows) - len(good)


@settings(max_examples=150)
@given(
    lines=st.lists(LINE, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    bom=st.booleans(),
    final_end=st.booleans(),
    chunk_rows=st.integers(1, 8),
    block_bytes=st.integers(1, 60),
    ending=st.sampled_from(list(PACK)),
)
@example(
    lines=[["\n", '"', "a"]], end="\r\n", bom=True, final_end=False, chunk_rows=1, block_bytes=1,
    ending="",
)  # fmt: skip
def test_any_cut_of_a_csv_file_gives_the_rows_that_plain_python_gives(
    lines: list[list[str]],
    end: str,
    bom: bool,
    final_end: bool,
    chunk_rows: int,
    block_bytes: int,
    ending: str,
) -> None:
    into = io.StringIO(newline="")
    writer = csv.writer(into, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b", "c"], *lines])
    text = into.getvalue() if final_end else into.getvalue().removesuffix(end)
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
    good, others = by_plain_python(text)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"x.csv{ending}").write_bytes(PACK[ending](content))
        read = asyncio.run(
            read_files(
                Path(folder), f"x.csv{ending}", chunk_rows=chunk_rows, block_bytes=block_bytes
            )
        )
    assert [list(row.values()) for row in read.rows] == good
    assert len(read.unreadable) == others
    assert list(read.shape.columns) == ["a", "b", "c"]
    if not ending:
        assert all(chunk.row_estimate <= chunk_rows for chunk in read.chunks)
        assert sum(chunk.row_estimate for chunk in read.chunks) == len(good) + others


@settings(max_examples=150)
@given(
    st.lists(st.text(alphabet='",\n\rab\x00', max_size=3), max_size=40).map("".join),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_any_text_is_read_the_same_however_it_is_cut(text: str, rows: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.csv").write_bytes(b"a,b\n" + text.encode())
        whole = asyncio.run(read_files(folder, "x.csv"))
        cut = asyncio.run(read_files(folder, "x.csv", chunk_rows=rows, block_bytes=size))
    assert cut.rows == whole.rows
    assert cut.reasons() == whole.reasons()


async def test_values_have_the_declared_types(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "small,big,ratio,on,price,at,fine,ms,day,id,any,tags\n"
        "-7,9223372036854775807,1e-3,T,-0.10,2026-05-01 02:00:00.1234+02:00,"
        "2026-05-01T00:00:00.123456Z,1777593600123,2026-05-01,"
        '00000000-0000-0000-0000-00000000000A,"{""a"": 1.10}","[""x"", null]"\n'
    )
    fields = {
        "small": "int32", "big": "int64", "ratio": "float64", "on": "bool", "price": "decimal(4,2)",
        "at": "timestamp", "fine": "timestamp(6)", "ms": "timestamp_ms", "day": "date",
        "id": "uuid", "any": "json", "tags": "list<string?>",
    }  # fmt: skip
    read = await read_files(tmp_path, "x.csv", fields=fields)
    [row] = read.rows
    assert row == {
        "small": -7,
        "big": 2**63 - 1,
        "ratio": 0.001,
        "on": True,
        "price": Decimal("-0.10"),
        "at": datetime(2026, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC),
        "fine": datetime(2026, 5, 1, 0, 0, 0, 123_456, tzinfo=UTC),
        "ms": datetime(2026, 5, 1, 0, 0, 0, 123_000, tzinfo=UTC),
        "day": date(2026, 5, 1),
        "id": "00000000-0000-0000-0000-00000000000a",
        "any": '{"a": 1.10}',
        "tags": ["x", None],
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int32", "2147483648"), ("int64", "1.0"), ("int64", "1e3"), ("int64", "0x1"),
        ("decimal(4,2)", "1.005"), ("decimal(4,2)", "100"), ("decimal(4,2)", "1_0"),
        ("float64", "1e999"), ("float64", "nan"), ("bool", "yes"), ("date", "2026-02-30"),
        ("date", "1900-12-31"), ("timestamp", "2026-05-01T00:00"), ("timestamp", "2026-05-01"),
        ("timestamp(6)", "2026-05-01T00:00:60Z"), ("timestamp(6)", "2299-01-01T00:00Z"),
        ("timestamp_ms", "2026-05-01T00:00Z"), ("uuid", "x"), ("json", "{a}"),
        ("json", "1},{"), ("json", '1,"v":2'), ("list<int64>", "[1.5]"), ("list<int64>", "1"),
        ("string", "a\0b"), ("int64", ""),
    ],
)  # fmt: skip
async def test_a_value_that_does_not_fit_makes_its_row_unreadable(
    tmp_path: Path, kind: str, text: str
) -> None:
    with (tmp_path / "x.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["n", "v"], ["1", text], ["2", ""]])
    read = await read_files(tmp_path, "x.csv", fields={"n": "int64", "v": kind})
    found = read.unreadable[0]
    assert (found["check"], found["field"], found["row"]) == ("unreadable", "v", 0)
    assert f"`v`: expected {kind}, got" in found["reason"]
    assert json.loads(found["content"]) == {"n": "1", "v": text}


async def test_a_row_of_another_width_or_with_bad_bytes_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b'a,b\n1,2\n3\n4,5,6\n\xff,8\n"9"9,0\n10,"never\nclosed')
    read = await read_files(tmp_path, "x.csv")
    assert read.rows == [{"a": "1", "b": "2"}]
    assert [json.loads(row["content"])["_text"] for row in read.unreadable] == [
        "3\n", "4,5,6\n", "\ufffd,8\n", '"9"9,0\n', '10,"never\nclosed',
    ]  # fmt: skip
    assert [row["row"] for row in read.unreadable] == [1, 2, 3, 4, 5]
    assert read.reasons()[0] == (
        "expected 2 values as in the line of names, got 1 (x.csv at byte 8)"
    )


async def test_null_texts_are_null_and_quoted_ones_are_texts(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('a;n\nNA;NA\n"NA";"NA"\n;1\n')
    read = await read_files(
        tmp_path, "x.csv", fields={"a": "string?", "n": "int32?"}, delimiter=";", null=["NA"]
    )
    assert read.rows == [{"a": None, "n": None}, {"a": "NA", "n": None}, {"a": "", "n": 1}]


async def test_times_on_the_wall_need_a_zone(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("at\n2026-07-01 12:00\n2026-10-25 02:30\n2026-03-29 02:30\n")
    without = await read_files(tmp_path, "x.csv", fields={"at": "timestamp"})
    assert without.rows == []
    assert "`timezone` of the source" in without.reasons()[0]
    there = await read_files(
        tmp_path, "x.csv", fields={"at": "timestamp"}, timezone="Europe/Berlin"
    )
    assert there.rows == [{"at": datetime(2026, 7, 1, 10, tzinfo=UTC)}]
    assert all("comes twice there" in reason for reason in there.reasons())


async def test_columns_are_the_declared_ones_and_what_files_have_besides(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("more,id\nx,1\n")
    (tmp_path / "b.csv").write_text("id,other\n2,y\n")
    read = await read_files(tmp_path, "*.csv", fields={"id": "int64", "gone": "date?"})
    assert read.shape.columns == {
        "id": "int64", "gone": "date?", "more": "string?", "other": "string?",
    }  # fmt: skip
    assert read.rows == [
        {"id": 1, "gone": None, "more": "x", "other": None},
        {"id": 2, "gone": None, "more": None, "other": "y"},
    ]
    assert len(read.chunks) == 1
    with pytest.raises(
        SourceRefusedError, match=r"a\.csv`: expected a column `gone`, got more, id"
    ):
        await read_files(tmp_path, "*.csv", fields={"gone": "date"})


async def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,id\n")
    with pytest.raises(SourceRefusedError, match="got `id` twice"):
        await read_files(tmp_path, "a.csv")


async def test_patterns_match_as_in_a_shell_and_files_come_in_order(tmp_path: Path) -> None:
    for name in ("2026/05/b.csv", "2026/05/a.csv", "2026/c.csv", "2026/.hidden.csv", "d[1].csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"name\n{name}\n")

    async def names(url: str) -> list[str]:
        return [row["name"] for row in (await read_files(tmp_path, url)).rows]

    assert await names("2026/*.csv") == ["2026/c.csv"]
    assert await names("2026/**/*.csv") == ["2026/05/a.csv", "2026/05/b.csv", "2026/c.csv"]
    assert await names("2026/05/?.csv") == ["2026/05/a.csv", "2026/05/b.csv"]
    assert await names("d[1].csv") == await names("d[1]*") == ["d[1].csv"]
    assert await names((tmp_path / "d[1].csv").as_uri()) == ["d[1].csv"]
    with pytest.raises(SourceRefusedError, match=r"z\*`: expected one at least, got none"):
        await names("z*")


async def test_the_day_of_the_interval_stands_in_the_path(tmp_path: Path) -> None:
    (tmp_path / "2026-05-01.csv").write_text("a\n1\n")
    source = FileSource(url="{date}.csv", format="csv")
    interval = parse_interval("2026-05-01/2026-05-02", "Europe/Berlin")
    assert (await read_all(source_of(tmp_path, source, interval=interval))).rows == [{"a": "1"}]
    with pytest.raises(SourceRefusedError, match=r"expected an interval for `\{date\}`"):
        source_of(tmp_path, source)


async def test_a_file_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a\n1\n")
    source = source_of(tmp_path, FileSource(url="x.csv", format="csv"))
    read = await read_all(source)
    status = path.stat()
    path.write_text("a\n2\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(SourceRefusedError, match=r"x\.csv`: expected it as it was"):
        await read_chunk(source, read.shape, read.chunks[0])
    path.unlink()
    with pytest.raises(SourceRefusedError, match="got none; run again"):
        await read_chunk(source, read.shape, read.chunks[0])


async def test_a_damaged_or_mistaken_compression_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"a\n" + b"1\n" * 10_000)
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-9])
    (tmp_path / "plain.csv.gz").write_text("a\n1\n")
    (tmp_path / "plain.csv.zst").write_text("a\n1\n")
    for name in ("cut.csv.gz", "plain.csv.gz", "plain.csv.zst"):
        with pytest.raises(SourceRefusedError, match="expected whole compressed content"):
            await read_files(tmp_path, name)
    (tmp_path / "two.csv.gz").write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert (await read_files(tmp_path, "two.csv.gz")).rows == [{"a": "1"}, {"a": "2"}]


async def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "b.csv").write_text("id,x\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b""))
    read = await read_files(tmp_path, "*.csv*", fields={"id": "int64"})
    assert read.rows == []
    assert len(read.shape.notes) == 2


async def test_other_encodings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("a,b\n1,2\n".encode("utf-16"))
    with pytest.raises(SourceRefusedError, match="expected UTF-8, got UTF-16"):
        await read_files(tmp_path, "a.csv")


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_a_type_that_texts_cannot_hold_is_refused_before_anything_is_read(
    tmp_path: Path, file_format: str
) -> None:
    source = FileSource.model_validate({"url": "x", "format": file_format})
    with pytest.raises(SourceRefusedError, match="a list of another type in column `times`"):
        source_of(tmp_path, source, {"times": "list<timestamp(6)>"})


def test_a_delimiter_of_another_kind_is_refused(tmp_path: Path) -> None:
    for delimiter in ("§", '"', "\n"):
        with pytest.raises(SourceRefusedError, match="expected an ASCII character"):
            source_of(tmp_path, FileSource(url="x", format="csv", delimiter=delimiter))


async def test_a_record_without_an_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.csv").write_text('a\n1\n"' + "x\n" * 5_000)
    read = await read_files(tmp_path, "x.csv")
    assert read.rows == [{"a": "1"}]
    assert "a quote that is never closed" in read.reasons()[0]
    monkeypatch.setattr("connectors.file_text.MAX_RECORD_BYTES", 1_000)
    with pytest.raises(SourceRefusedError, match="a longer one at byte 4; a quote may never be"):
        await read_files(tmp_path, "x.csv")


async def test_files_have_nothing_to_settle_and_no_snapshot(tmp_path: Path) -> None:
    source = source_of(tmp_path, FileSource(url="x.csv", format="csv"))
    window = CursorWindow(start="a", end="b")
    assert await source.settle(window, None) == Settled(window=window)
    with pytest.raises(SourceRefusedError, match="expected a source with snapshots"):
        source.at_one_moment()
