import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from common.errors import FatalError, SinkRefusedError, StaleEpochError
from contracts.field_type import FieldType
from tests.conformance.sink_case import (
    MINUTE_MS,
    VERSIONS_DECIDE,
    SinkCase,
    chunk_of,
    row,
    rows_of,
    table_of,
)

DATABASES = pytest.mark.parametrize(
    "server", ["clickhouse", "postgres", "postgres-copied", "timescaledb"], indirect=True
)
"""Sinks that take statements, so that a target can be made by somebody else."""


async def test_an_empty_batch_changes_nothing(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1))
    assert await case.final(table) == []


async def test_a_repeated_batch_is_there_once(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    for _ in range(3):
        await case.write(table, chunk_of(table, 1), row(1, "a", 5), row(1, "b", 6))
    assert await case.final(table) == [(1, "a", 5), (1, "b", 6)]


async def test_two_chunks_with_a_crash_between_complete_on_retry(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    first, second = (chunk_of(table, 1, chunk=place, count=2) for place in (0, 1))
    await case.write(table, first, row(1, "a", 5))
    await case.write(table, first, row(1, "a", 5))
    await case.write(table, second, row(1, "b", 6))
    assert await case.final(table) == [(1, "a", 5), (1, "b", 6)]


async def test_a_chunk_of_several_statements_arrives_whole(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    rows = [row(minute, "a", minute) for minute in range(2_501)]
    for _ in range(2):
        await case.write(table, chunk_of(table, 1), *rows)
    assert await case.final(table) == [(minute, "a", minute) for minute in reversed(range(2_501))]


async def test_a_revision_replaces(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5), row(2, "a", 7))
    await case.write(table, chunk_of(table, 2), row(1, "a", 9))
    assert await case.final(table) == [(2, "a", 7), (1, "a", 9)]


async def test_a_tombstone_hides_and_a_later_revision_shows_again(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    await case.write(table, chunk_of(table, 2), row(1, "a", 0, deleted=True))
    assert await case.final(table) == []
    await case.write(table, chunk_of(table, 3), row(1, "a", 8))
    assert await case.final(table) == [(1, "a", 8)]


async def test_a_zombie_of_an_older_flush_changes_nothing(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 2), row(1, "a", 9), row(2, "a", 0, deleted=True))
    await case.write(table, chunk_of(table, 1), row(1, "a", 5), row(2, "a", 5))
    assert await case.final(table) == [(1, "a", 9)]


async def test_a_zombie_after_its_record_was_pruned_changes_nothing(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    await case.write(table, chunk_of(table, 1_000), row(1, "a", 9))
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    assert await case.final(table) == [(1, "a", 9)]


async def test_an_older_epoch_changes_nothing(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, epoch=2), row(1, "a", 9))
    older = chunk_of(table, 5, epoch=1)
    if case.kind in VERSIONS_DECIDE:
        await case.write(table, older, row(1, "a", 5))
    else:
        with pytest.raises(StaleEpochError, match="expected epoch 2 or later, got 1"):
            await case.write(table, older, row(1, "a", 5), row(2, "a", 5))
    assert await case.final(table) == [(1, "a", 9)]


async def test_other_rows_under_a_used_name_are_fatal_or_harmless(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, content="x"), row(1, "a", 9))
    if case.kind == "clickhouse":
        return
    with pytest.raises(FatalError, match="two runs share one epoch"):
        await case.write(table, chunk_of(table, 1, content="y"), row(1, "a", 5))
    assert await case.final(table) == [(1, "a", 9)]


async def test_a_bad_row_is_fatal_and_leaves_nothing_of_its_chunk(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    chunk = chunk_of(table, 1)
    good = rows_of(table, chunk, [row(1, "a", 5), row(2, "a", 6)])
    place = good.schema.get_field_index("sales")
    wrong_type = good.set_column(place, "sales", pa.array(["5", "x"]))
    with_null = good.set_column(place, "sales", pa.array([5, None], pa.int64()))
    twice = pa.concat_tables([good, good])
    other_version = good.set_column(
        good.schema.get_field_index("_version"), "_version", pa.array([1, 2], pa.int64())
    )
    for bad in (wrong_type, with_null, twice, other_version, good.drop_columns(["sales"])):
        with pytest.raises(FatalError, match=f"rows for `{name}`"):
            await case.sink.write(table, chunk, bad)
    assert await case.final(table) == []
    await case.sink.write(table, chunk, good)
    assert await case.final(table) == [(2, "a", 6), (1, "a", 5)]


async def test_a_row_that_only_the_server_refuses_leaves_nothing_of_its_chunk(
    case: SinkCase, name: str
) -> None:
    table = table_of(
        name,
        extra={
            "who": FieldType("uuid"),
            "category": FieldType("string"),
            "sales": FieldType("int64"),
        },
    )
    await case.prepare(table)
    right = {"who": "00000000-0000-4000-8000-000000000001"}
    wrong = {"who": "not a uuid"}
    rows = [{**row(minute, "a", 1), **right} for minute in range(1_500)]
    with pytest.raises(FatalError):
        await case.write(table, chunk_of(table, 1), *rows, {**row(9_999, "a", 1), **wrong})
    assert await case.final(table) == []


async def test_a_null_key_is_a_key_of_its_own(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, None, 5), row(1, "", 6), row(1, "n", 7))
    await case.write(table, chunk_of(table, 2), row(1, None, 8))
    assert await case.final(table) == [(1, "", 6), (1, "n", 7), (1, None, 8)]
    found = await case.sink.final_rows(name)
    assert found["best"].to_pylist() == [1.5, None, 2.0]


async def test_preparing_twice_keeps_rows_and_tells_the_epoch(case: SinkCase, name: str) -> None:
    table = table_of(name)
    assert (await case.prepare(table)).highest_epoch == 0
    await case.write(table, chunk_of(table, 1, epoch=7), row(1, "a", 5))
    assert (await case.prepare(table)).highest_epoch == 7
    assert await case.final(table) == [(1, "a", 5)]


async def test_rows_come_newest_first_and_no_more_than_asked(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    names = ["Z", "a", "ä", "B", None, "😀"]
    await case.write(
        table, chunk_of(table, 1), *(row(minute, key, 1) for minute in (1, -3, 2) for key in names)
    )
    rows = [(minute, key, 1) for minute in (2, 1, -3) for key in ("B", "Z", "a", "ä", "😀", None)]
    assert await case.final(table) == rows
    assert (await case.sink.final_rows(name, 7)).num_rows == 7
    assert (await case.sink.final_rows(name, 0)).num_rows == 0


@pytest.mark.parametrize("stream", ["it's `odd\" \\ ü; --", "a/b c", "$1 %s {x:String} ?"])
async def test_any_stream_name_works(case: SinkCase, name: str, stream: str) -> None:
    table = table_of(name, stream=stream)
    for flush_seq in (1, 2):
        await case.prepare(table)
        await case.write(table, chunk_of(table, flush_seq), row(1, stream, flush_seq))
    assert await case.final(table) == [(1, stream, 2)]


async def test_a_table_of_another_stream_is_refused(case: SinkCase, name: str) -> None:
    await case.prepare(table_of(name, stream="mine"))
    with pytest.raises(SinkRefusedError, match="belongs to somebody else"):
        await case.prepare(table_of(name, stream="theirs"))


@DATABASES
async def test_a_foreign_table_is_refused_with_every_reason(case: SinkCase, name: str) -> None:
    if case.kind == "clickhouse":
        await case.execute(
            f"CREATE TABLE {name} (window_start DateTime, category Nullable(String), _key "
            "String, _version UInt64, "
            "_deleted UInt8) ENGINE = ReplacingMergeTree(_version) PARTITION BY category ORDER "
            "BY _key "
            "TTL window_start + INTERVAL 1 DAY DELETE WHERE _deleted = 1 SETTINGS "
            "allow_nullable_key = 1"
        )
        reasons = [
            "arguments",
            "order key",
            "partition key",
            "`sales` is missing",
            "`window_start` is",
            "TTL",
        ]
    else:
        await case.execute(
            f"CREATE TABLE {name} (window_start timestamp NOT NULL, category text NOT NULL, "
            "owner text NOT NULL, "
            "_key text UNIQUE, _version bigint, _deleted boolean)"
        )
        await case.execute(f"INSERT INTO {name} VALUES (now(), 'x', 'x', 'x', 1, false)")
        reasons = [
            "belongs to somebody else", "no primary key", "unique index on", "`sales` is missing",
            "`window_start` is", "`category` is NOT NULL", "`owner` is NOT NULL without a default",
        ]  # fmt: skip
    with pytest.raises(SinkRefusedError) as refused:
        await case.prepare(table_of(name))
    assert [reason for reason in reasons if reason not in str(refused.value)] == []


@DATABASES
async def test_a_view_in_place_of_the_table_is_refused(case: SinkCase, name: str) -> None:
    await case.execute(f"CREATE VIEW {name} AS SELECT 1 AS one")
    with pytest.raises(SinkRefusedError, match="choose another table name"):
        await case.prepare(table_of(name))


@DATABASES
async def test_a_fitting_empty_table_of_the_user_is_taken(case: SinkCase, name: str) -> None:
    columns = {
        "clickhouse": "window_start DateTime64(3, 'UTC'), window_end DateTime64(3, 'UTC'), "
        "category Nullable(String), "
        "sales Int64, best Nullable(Float64), _key String, _version UInt64, _deleted UInt8, "
        "note String DEFAULT ''",
        "postgres": "window_start timestamptz, window_end timestamptz, category varchar, sales "
        "bigint, "
        "best double precision, _key text, _version bigint, _deleted boolean, note text, "
        "PRIMARY KEY (_key, window_start)",
    }["clickhouse" if case.kind == "clickhouse" else "postgres"]
    engine = (
        "ENGINE = ReplacingMergeTree(_version, _deleted) PARTITION BY toYYYYMM(window_start) "
        "ORDER BY (_key, window_start)"
        if case.kind == "clickhouse"
        else ""
    )
    await case.execute(f"CREATE TABLE {name} ({columns}) {engine}")
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    await case.prepare(table)
    assert await case.final(table) == [(1, "a", 5)]


async def test_a_declaration_that_no_sink_can_hold_is_refused(case: SinkCase, name: str) -> None:
    with pytest.raises(SinkRefusedError, match="`_key` is reserved"):
        await case.prepare(table_of(name, extra={"_key": FieldType("string")}))


async def test_a_write_without_its_table_is_refused(case: SinkCase, name: str) -> None:
    table = table_of(name)
    with pytest.raises(SinkRefusedError, match="expected to"):
        await case.write(table, chunk_of(table, 1), row(1, "a", 5))
    with pytest.raises(SinkRefusedError, match="it is made when the stream starts"):
        await case.final(table)


_INSTANT = dt.datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC)
_FULL: dict[str, tuple[FieldType, list[Any]]] = {
    "text": (FieldType("string"), ["", "tab\t'quote' \\ ü 😀\n"]),
    "maybe": (FieldType("string", nullable=True), [None, ""]),
    "small": (FieldType("int32"), [-(2**31), 2**31 - 1]),
    "big": (FieldType("int64"), [-(2**63), 2**63 - 1]),
    "ratio": (FieldType("float64"), [1e308, -5e-324]),
    "odd": (FieldType("float64"), [float("inf"), 0.1]),
    "flag": (FieldType("bool", nullable=True), [None, False]),
    "wide": (
        FieldType("decimal", 38, 6),
        [Decimal("9" * 32 + "." + "9" * 6), Decimal("-0.000001")],
    ),
    "price": (FieldType("decimal", 12, 2, nullable=True), [Decimal("-1.50"), None]),
    "instant": (
        FieldType("timestamp"),
        [_INSTANT, dt.datetime(2261, 1, 1, 0, 0, 0, 1_000, tzinfo=dt.UTC)],
    ),
    "millis": (
        FieldType("timestamp_ms", nullable=True),
        [None, dt.datetime(1901, 1, 1, tzinfo=dt.UTC)],
    ),
    "day": (FieldType("date"), [dt.date(1950, 2, 3), dt.date(2100, 12, 31)]),
    "who": (FieldType("uuid", nullable=True), ["0f8fad5b-d9cb-469f-a165-70867728950e", None]),
    "document": (FieldType("json"), ["[1, 2]", '"x"']),
    "texts": (
        FieldType("list", element=FieldType("string", nullable=True)),
        [['a,"b" {', None, ""], []],
    ),
    "numbers": (FieldType("list", element=FieldType("int64")), [[2**63 - 1, -1], []]),
    "prices": (FieldType("list", element=FieldType("decimal", 20, 2)), [[Decimal("1.10")], []]),
    "flags": (FieldType("list", element=FieldType("bool")), [[True, False], []]),
    "times": (FieldType("list", element=FieldType("timestamp")), [[_INSTANT], []]),
    "people": (
        FieldType("list", element=FieldType("uuid")),
        [["0f8fad5b-d9cb-469f-a165-70867728950e"], []],
    ),
}


async def test_every_column_type_comes_back_exactly(case: SinkCase, name: str) -> None:
    table = table_of(name, extra={column: kind for column, (kind, _) in _FULL.items()})
    await case.prepare(table)
    await case.prepare(table)
    rows = [
        {
            "window_start": place * MINUTE_MS,
            "window_end": place * MINUTE_MS,
            "_key": str(place),
            **{column: values[place] for column, (_, values) in _FULL.items()},
        }
        for place in (0, 1)
    ]
    await case.write(table, chunk_of(table, 1), *rows)
    found = (await case.sink.final_rows(name)).to_pylist()
    for column, (_, values) in _FULL.items():
        assert [item[column] for item in reversed(found)] == values, column


async def test_both_arrow_text_kinds_and_dictionaries_are_taken(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    for flush_seq, kind in enumerate(
        [pa.string_view(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], 1
    ):
        chunk = chunk_of(table, flush_seq)
        rows = rows_of(table, chunk, [row(1, "a", flush_seq), row(1, None, flush_seq)])
        for column in ("category", "_key"):
            place = rows.schema.get_field_index(column)
            texts = pa.array(rows[column].to_pylist(), pa.string())
            changed = (
                texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts.cast(kind)
            )
            rows = rows.set_column(place, column, changed)
        await case.sink.write(table, chunk, rows)
        assert await case.final(table) == [(1, "a", flush_seq), (1, None, flush_seq)]
