import asyncio
import gzip
import json
import tempfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.source.source_case import read_files

FIELDS = {"id": "int64", "price": "decimal(38,10)?", "name": "string?", "tags": "list<string>?"}
PACK = {"": lambda content: content, ".gz": gzip.compress, ".zst": zstd.compress}
RECORD = st.fixed_dictionaries(
    {"id": st.integers(-(2**63), 2**63 - 1)},
    optional={
        "price": st.decimals(min_value=-(10**20), max_value=10**20, places=10, allow_nan=False).map(
            lambda number: f"{number:f}"
        ),
        "name": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "tags": st.lists(st.text(alphabet='a"\n,\\é', max_size=3), max_size=3),
        "undeclared": st.booleans(),
    },
)
BAD = st.sampled_from(
    [b"{", b"[1]", b'{"id":1.0}', b'{"id":null}', b"\xff", b'{"id":1}{}', b"null"]
)
BLANK = st.sampled_from([b"", b"  \t", b"\r"])


def as_line(record: dict[str, Any]) -> bytes:
    """Write a record with its price as a number of all its digits."""
    price = record.get("price")
    text = json.dumps({**record, "price": "@"} if price else record, ensure_ascii=False)
    return text.replace('"@"', str(price)).encode()


@settings(max_examples=100)
@given(
    lines=st.lists(RECORD | BAD | BLANK, max_size=12),
    end=st.sampled_from([b"\n", b"\r\n"]),
    final_end=st.booleans(),
    chunk_rows=st.integers(1, 5),
    block_bytes=st.integers(1, 200),
    ending=st.sampled_from(list(PACK)),
)
def test_any_cut_of_a_file_gives_every_line_once(
    lines: list[dict[str, Any] | bytes],
    end: bytes,
    final_end: bool,
    chunk_rows: int,
    block_bytes: int,
    ending: str,
) -> None:
    texts = [line if isinstance(line, bytes) else as_line(line) for line in lines]
    content = end.join(texts) + (end if final_end else b"")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / f"x.jsonl{ending}").write_bytes(PACK[ending](content))
        read = asyncio.run(
            read_files(Path(name), f"x.jsonl{ending}", "jsonl", FIELDS, chunk_rows, block_bytes)
        )
    good = [line for line in lines if isinstance(line, dict)]
    assert [row["id"] for row in read.rows] == [line["id"] for line in good]
    for row, line in zip(read.rows, good, strict=True):
        price = line.get("price")
        assert row["price"] == (None if price is None else Decimal(price))
        assert row["name"] == line.get("name")
        assert row["tags"] == line.get("tags")
    bad = [line for line in lines if isinstance(line, bytes) and line.strip()]
    assert [json.loads(row["content"])["_text"].rstrip("\r") for row in read.unreadable] == [
        line.decode(errors="replace") for line in bad
    ]


async def test_times_keep_microseconds_and_may_have_a_zone_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"at": "2026-05-01T00:00:00.123456Z", "ms": "2026-05-01T00:00Z"}\n'
        '{"at": "2026-05-01T02:00:00", "ms": "2026-05-01T02:00:00"}\n'
        '{"at": 5, "ms": "x"}\n{"ms": null}\n'
    )
    fields = {"at": "timestamp(6)", "ms": "timestamp"}
    read = await read_files(tmp_path, "x.jsonl", "jsonl", fields)
    first = {
        "at": datetime(2026, 5, 1, 0, 0, 0, 123_456, tzinfo=UTC),
        "ms": datetime(2026, 5, 1, tzinfo=UTC),
    }
    assert read.rows == [first]
    assert [row["row"] for row in read.unreadable] == [1, 2, 3]
    assert "ISO 8601 time, got 5 (x.jsonl at byte" in read.reasons()[1]
    there = await read_files(tmp_path, "x.jsonl", "jsonl", fields, timezone="Europe/Berlin")
    midnight = datetime(2026, 5, 1, tzinfo=UTC)
    assert there.rows == [first, {"at": midnight, "ms": midnight}]


async def test_undeclared_fields_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"id": 1, "more": 2}\n[]\n{"id": 2, "other": 0}\n')
    read = await read_files(tmp_path, "x.jsonl", "jsonl", {"id": "int64"})
    assert list(read.shape.columns) == ["id"]
    [note] = read.shape.notes
    assert note.endswith("which are not read: `more`, `other`")
