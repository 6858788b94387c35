"""Binary COPY both ways against a real server, and against what its driver reads and writes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import ContractViolationError, FatalError, SinkRefusedError
from connectors.postgres_copy import CHUNK_BYTES, copy_in, encode_copy
from connectors.postgres_copy_out import CopyReader, copy_out, decode_copy
from connectors.postgres_decode import (
    MINUS_INFINITY,
    NAN,
    NESTED,
    PLUS_INFINITY,
    TOO_LATE,
)
from connectors.postgres_type import PostgresType, type_named, type_numbered
from tests.conformance.copy_column import COLUMNS, plain, rows_of, table_of

_KINDS = [column.kind for column in COLUMNS] + [f"{column.kind}[]" for column in COLUMNS]
_NAMES = [f"c{place}" for place in range(len(_KINDS))]
_ROW = st.tuples(
    *(rows_of(column) for column in COLUMNS),
    *(st.none() | st.lists(rows_of(column), max_size=4) for column in COLUMNS),
)


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(postgres_dsn)
    yield opened
    await opened.close()


async def _make(connection: asyncpg.Connection, kinds: list[str]) -> list[str]:
    names = [f"c{place}" for place in range(len(kinds))]
    await connection.execute("DROP TABLE IF EXISTS pg_temp.copied")
    shape = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
    await connection.execute(f"CREATE TEMP TABLE copied (place serial, {shape})")
    return names


def _columns(kinds: list[str]) -> list[tuple[str, PostgresType]]:
    return [(f"c{place}", type_named(kind)) for place, kind in enumerate(kinds)]


async def _read(connection: asyncpg.Connection, query: str, kinds: list[str]) -> pa.Table:
    batches = [batch async for batch in copy_out(connection, query, _columns(kinds))]
    assert not any(batch.bad for batch in batches)
    schema = CopyReader(_columns(kinds)).schema
    return pa.Table.from_batches([batch.rows for batch in batches], schema)


async def _round_trip(dsn: str, rows: list[tuple[Any, ...]]) -> None:
    values = {name: [row[place] for row in rows] for place, name in enumerate(_NAMES)}
    table = table_of(values, _KINDS)
    connection = await asyncpg.connect(dsn)
    try:
        await _make(connection, _KINDS)
        assert await copy_in(connection, "copied", _NAMES, _KINDS, table) == len(rows)
        listed = ", ".join(_NAMES)
        records = await connection.fetch(f"SELECT {listed} FROM copied ORDER BY place")
        query = f"SELECT {listed} FROM copied ORDER BY place"
        back = await _read(connection, query, _KINDS)
    finally:
        await connection.close()
    for place, (name, kind) in enumerate(zip(_NAMES, _KINDS, strict=True)):
        seen = COLUMNS[place % len(COLUMNS)].seen
        for record, row in zip(records, rows, strict=True):
            assert _same(record[name], row[place], seen), (kind, record[name], row[place])
        if "json" not in kind:
            _check_column(back[name], table[name], kind)


def _same(got: object, put: object, seen: Callable[[Any], object]) -> bool:
    if got is None or put is None:
        return got is put
    if isinstance(put, list) and isinstance(got, list):
        return len(got) == len(put) and all(
            _same(one, other, seen) for one, other in zip(got, put, strict=True)
        )
    return bool(plain(seen(got)) == plain(seen(put)))


def _check_column(back: pa.ChunkedArray, put: pa.ChunkedArray, kind: str) -> None:
    back.validate(full=True)
    assert plain(back.to_pylist()) == plain(put.to_pylist()), kind


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(_ROW, max_size=6))
def test_every_type_comes_back_as_it_went_and_as_the_driver_reads_it(
    postgres_dsn: str, rows: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_round_trip(postgres_dsn, rows))


@settings(max_examples=100)
@given(
    rows=st.lists(_ROW, max_size=12),
    chunk_bytes=st.integers(1, 2_000),
    cut=st.integers(1, 97),
    limits=st.tuples(st.integers(1, 5), st.integers(1, 3_000)),
)
def test_batches_depend_on_the_rows_and_not_on_how_their_bytes_were_cut(
    rows: list[tuple[Any, ...]], chunk_bytes: int, cut: int, limits: tuple[int, int]
) -> None:
    values = {name: [row[place] for row in rows] for place, name in enumerate(_NAMES)}
    table = table_of(values, _KINDS)
    whole = b"".join(bytes(piece) for piece in encode_copy(table, _KINDS))
    parts = b"".join(
        bytes(piece) for piece in encode_copy(table.to_batches(3), _KINDS, chunk_bytes)
    )
    assert parts == whole
    pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    cut_up = list(decode_copy(pieces, _columns(_KINDS), *limits))
    at_once = list(decode_copy([whole], _columns(_KINDS), *limits))
    assert [batch.first_row for batch in cut_up] == [batch.first_row for batch in at_once]
    assert [plain(list(batch.rows.to_pydict().values())) for batch in cut_up] == [
        plain(list(batch.rows.to_pydict().values())) for batch in at_once
    ]
    assert all(0 < batch.rows.num_rows <= limits[0] for batch in cut_up)
    back = pa.Table.from_batches(
        [batch.rows for batch in cut_up], CopyReader(_columns(_KINDS)).schema
    )
    assert plain(list(back.to_pydict().values())) == plain(list(table.to_pydict().values()))


async def test_values_that_arrow_cannot_hold_are_told_with_their_place(
    connection: asyncpg.Connection,
) -> None:
    query = """SELECT * FROM (VALUES
        (1.5::numeric, 'infinity'::timestamptz, 'infinity'::date,
         '{1,2}'::int4[], '{1}'::numeric[]),
        ('NaN', '-infinity', '-infinity', '{{1,2},{3,4}}', '{2,NaN}'),
        ('infinity', '294276-12-31 23:59:59.999999', '5874897-12-31', NULL, '{}'),
        ('-infinity', '4714-11-24 00:00:00 BC', '4714-11-24 BC', '{}', '{Infinity,1e30}'),
        (1e30, '2026-01-01', '2026-01-01', '{NULL}', NULL),
        (-1e-19, NULL, NULL, '{7}', '{NULL,3}'),
        (99999999999999999999.999999999999999999, NULL, NULL, '{7}', '{4}')) AS bad"""
    kinds = ["numeric", "timestamp with time zone", "date", "integer[]", "numeric[]"]
    [batch] = [one async for one in copy_out(connection, query, _columns(kinds))]
    bounds = "decimal(38,18) holds"
    assert {(one.column, one.reason): one.rows.tolist() for one in batch.bad} == {
        ("c0", NAN): [1],
        ("c0", PLUS_INFINITY): [2],
        ("c0", MINUS_INFINITY): [3],
        ("c0", f"more digits than {bounds}"): [4],
        ("c0", f"more places than {bounds}"): [5],
        ("c1", PLUS_INFINITY): [0],
        ("c1", MINUS_INFINITY): [1],
        ("c1", TOO_LATE): [2],
        ("c2", PLUS_INFINITY): [0],
        ("c2", MINUS_INFINITY): [1],
        ("c3", NESTED): [1],
        ("c4", NAN): [1],
        ("c4", PLUS_INFINITY): [3],
        ("c4", f"more digits than {bounds}"): [3],
    }
    rows = batch.rows
    assert [str(value) for value in rows["c0"].to_pylist()] == [
        "1.500000000000000000", *["None"] * 5, "99999999999999999999.999999999999999999",
    ]  # fmt: skip
    assert (
        rows["c1"].cast(pa.int64()).to_pylist()[3] == -211_813_488_000_000_000 + 946_684_800_000_000
    )
    assert rows["c2"].cast(pa.int32()).to_pylist()[2:4] == [2_145_042_905, -2_440_588]
    assert rows["c3"].to_pylist() == [[1, 2], None, None, [], [None], [7], [7]]
    assert [value is None for value in rows["c4"].to_pylist()] == [
        False, True, False, True, True, False, False,
    ]  # fmt: skip


async def test_times_at_both_ends_of_the_calendar_are_taken_and_none_beyond(
    connection: asyncpg.Connection,
) -> None:
    kinds = ["timestamp with time zone", "date"]
    names = await _make(connection, kinds)
    first, last = -211_813_488_000_000_000 + 946_684_800_000_000, 2**63 - 1
    table = pa.table(
        {
            "at": pa.array([first, last, None]).cast(pa.timestamp("us", "UTC")),
            "day": pa.array([-2_440_588, 2_145_042_905, None], pa.int32()).cast(pa.date32()),
        }
    )
    assert await copy_in(connection, "copied", names, kinds, table) == 3
    texts = await connection.fetch(
        "SELECT (c0 AT TIME ZONE 'UTC')::text AS at, c1::text AS day FROM copied ORDER BY place"
    )
    assert [tuple(row) for row in texts] == [
        ("4714-11-24 00:00:00 BC", "4714-11-24 BC"),
        ("294247-01-10 04:00:54.775807", "5874897-12-31"),
        (None, None),
    ]
    back = await _read(connection, "SELECT c0, c1 FROM copied ORDER BY place", kinds)
    assert back.equals(table.rename_columns(names).cast(back.schema))
    for column, value in (("at", first - 1), ("day", -2_440_589), ("day", 2_145_042_906)):
        kind = table.schema.field(column).type
        storage = pa.int64() if column == "at" else pa.int32()
        wrong = pa.table({column: pa.array([value], storage).cast(kind)})
        pieces = encode_copy(wrong, [kinds[column == "day"]])
        with pytest.raises(ContractViolationError, match="expected times from 4714 BC on"):
            list(pieces)


async def test_huge_values_and_many_rows_are_copied_in_pieces_of_bounded_size(
    connection: asyncpg.Connection,
) -> None:
    kinds = ["bigint", "text"]
    names = await _make(connection, kinds)
    texts = ["é" * 3_000_000, "", None, *("row" * (place % 50) for place in range(60_000))]
    table = pa.table({"c0": pa.array(range(len(texts))), "c1": pa.array(texts)})
    sizes = [len(piece) for piece in encode_copy(table, kinds)]
    assert sum(size > 3 * CHUNK_BYTES for size in sizes) <= 1
    assert await copy_in(connection, "copied", names, kinds, table) == len(texts)
    found = [
        batch
        async for batch in copy_out(
            connection, "SELECT c0, c1 FROM copied ORDER BY place", _columns(kinds)
        )
    ]
    assert len(found) > 1
    assert [batch.first_row for batch in found] == np.cumsum(
        [0, *(batch.rows.num_rows for batch in found[:-1])]
    ).tolist()
    back = pa.Table.from_batches([batch.rows for batch in found])
    assert back.equals(table.cast(back.schema))


async def test_columns_are_read_as_the_catalog_names_and_numbers_them(
    connection: asyncpg.Connection,
) -> None:
    kinds = [*_KINDS, "numeric(5,-2)", "timestamp(3) with time zone[]", "character(4)"]
    await _make(connection, kinds)
    rows = await connection.fetch(
        "SELECT atttypid, atttypmod, format_type(atttypid, atttypmod) AS name FROM pg_attribute "
        "WHERE attrelid = 'pg_temp.copied'::regclass AND attnum > 1 ORDER BY attnum"
    )
    for row, kind in zip(rows, kinds, strict=True):
        assert type_numbered(row["atttypid"], row["atttypmod"]) == type_named(kind)
        assert type_named(row["name"]) == type_named(kind)
        assert type_named(kind).oid == row["atttypid"]
    assert type_named("numeric(5,-2)").arrow == pa.decimal128(7, 0)
    for unknown in ("point", "interval", "numeric(1", "text[][]"):
        with pytest.raises(SinkRefusedError, match="cast the column to text"):
            type_named(unknown)
    with pytest.raises(SinkRefusedError, match="oid 600"):
        type_numbered(600)


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (pa.array(["a\x00b"]), "text", "without U\\+0000"),
        (pa.array([["a", "\x00"]]), "text[]", "without U\\+0000"),
        (pa.array([2**40]), "integer", "values that fit int32"),
        (pa.array([1.5]), "bigint", "a column for int8, got double"),
        (pa.array([1.5]), "real", "a column for float4, got double"),
        (pa.array(["x"]), "uuid", "texts that are UUIDs, got 'x'"),
        (pa.array(["0" * 35 + "g"]), "uuid", "texts that are UUIDs"),
        (pa.array([Decimal("1.234")]), "numeric(5,2)", "values that fit"),
        (pa.array([1]).cast(pa.timestamp("us")), "timestamptz", "a column for timestamptz"),
        (pa.array([1]).cast(pa.timestamp("ns", "UTC")), "timestamptz", "lose data"),
        (pa.array([1]), "bigint[]", "lists for int8"),
    ],
)
def test_a_value_that_would_change_is_refused(values: pa.Array, kind: str, said: str) -> None:
    with pytest.raises(ContractViolationError, match=said):
        list(encode_copy(pa.table({"c": values}), [kind]))


async def test_slices_views_dictionaries_and_null_columns_are_taken_as_they_are(
    connection: asyncpg.Connection,
) -> None:
    kinds = ["text", "text", "bytea", "boolean", "integer[]", "uuid", "numeric", "double precision"]
    names = await _make(connection, kinds)
    key = b"0123456789abcdef"
    columns = [
        pa.array(["x", "b", None, "d"]).dictionary_encode(),
        pa.array(["x", "long enough to lie elsewhere", None, "d"], pa.string_view()),
        pa.array([b"x", b"bc", None, b"de"]),
        pa.array([True, False, None, True]),
        pa.array([[9, 9], [1, None], None, []], pa.large_list(pa.int64())),
        pa.array([key, key, None, key], pa.binary(16)),
        pa.array([1, -20_000, None, 0]),
        pa.nulls(4),
    ]
    table = pa.table(dict(zip(names, columns, strict=True))).slice(1)
    assert await copy_in(connection, "copied", names, kinds, table) == 3
    rows = await connection.fetch("SELECT * FROM copied ORDER BY place")
    key_text = "30313233-3435-3637-3839-616263646566"
    assert [[_shown(value) for value in tuple(row)[1:]] for row in rows] == [
        ["b", "long enough to lie elsewhere", b"bc", False, [1, None], key_text, "-20000", None],
        [None] * 8,
        ["d", "d", b"de", True, [], key_text, "0", None],
    ]


def _shown(value: object) -> object:
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value) if isinstance(value, UUID) else value


async def test_an_iterator_that_is_closed_early_gives_up_its_connection(postgres_dsn: str) -> None:
    """Broken off behind the last row, the driver waited for ever for the end of a cancellation."""
    async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=1) as pool:
        for count in (1_000, 300_000):
            query = f"SELECT i::int8 FROM generate_series(1, {count}) AS s(i)"
            async with pool.acquire() as connection:
                batches = copy_out(connection, query, _columns(["bigint"]), batch_rows=999)
                first = await anext(batches)
                await batches.aclose()
            assert first.rows["c0"].to_pylist() == list(range(1, 1_000))
            assert await pool.fetchval("SELECT 1") == 1


async def _read_one_column(pool: asyncpg.Pool, query: str) -> None:
    async with pool.acquire() as connection:
        async for _ in copy_out(connection, query, _columns(["bigint"])):
            pass


async def test_output_of_another_shape_is_refused(postgres_dsn: str) -> None:
    async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=1) as pool:
        for query, said in (
            ("SELECT 1::int8, 2::int8", "expected 1 columns"),
            ("SELECT 1::int4", "expected values of int8"),
        ):
            with pytest.raises(FatalError, match=said):
                await _read_one_column(pool, query)
            assert await pool.fetchval("SELECT 1") == 1
    whole = b"".join(bytes(piece) for piece in encode_copy(pa.table({"c": [1, 2]}), ["bigint"]))
    for cut in range(len(whole)):
        with pytest.raises(FatalError, match="expected its end"):
            list(decode_copy([whole[:cut]], _columns(["bigint"])))
    with pytest.raises(FatalError, match="expected its binary format"):
        list(decode_copy([b"1\t2\n1\t2\n1\t2\n1\t2\n1\t2\n"], _columns(["bigint"])))


async def test_a_query_may_give_nothing_and_a_refused_one_leaves_the_connection_as_it_was(
    connection: asyncpg.Connection,
) -> None:
    query = "SELECT i::int8 FROM generate_series(1, 5) AS s(i) WHERE i > "
    found = [one async for one in copy_out(connection, query + "3", _columns(["bigint"]))]
    assert [one.rows["c0"].to_pylist() for one in found] == [[4, 5]]
    assert [one async for one in copy_out(connection, query + "9", _columns(["bigint"]))] == []
    with pytest.raises(asyncpg.UndefinedTableError):
        async for _ in copy_out(connection, "SELECT 1 FROM nowhere", _columns(["bigint"])):
            pass
