"""Types survive the trip into every batch target, and tables follow a source that gets columns."""

import datetime as dt
from decimal import Decimal

import pytest

from common.errors import ContractViolationError, SinkRefusedError
from pipelines.etl import WriteMode
from tests.conformance.batch_case import COLUMNS, HISTORY, MODES, Batch, BatchCase, ordered, row

pytestmark = pytest.mark.conformance

_UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
_TYPES: dict[str, list[object]] = {
    "string": ["", "tab\t'quote' \\ ü 😀\n\"", "x" * 10_000],
    "string?": [None, "", "NULL"],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64?": [-(2**63), None, 2**63 - 1],
    "float64": [1e308, -5e-324, 0.1],
    "bool?": [None, False, True],
    "decimal(38,6)": [Decimal("9" * 32 + "." + "9" * 6), Decimal("-0.000001"), Decimal("0.000000")],
    "decimal(12,2)?": [Decimal("-1.50"), None, Decimal("0.00")],
    "timestamp": [
        dt.datetime(1901, 1, 1, 0, 0, 0, 1_000, tzinfo=dt.UTC),
        dt.datetime(2261, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC),
    ],
    "timestamp(6)?": [
        dt.datetime(1901, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
        None,
        dt.datetime(2261, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    ],
    "date?": [dt.date(1900, 1, 1), None, dt.date(2299, 12, 31)],
    "uuid?": [_UUID, None],
    "json?": ["[1, 2]", '{"a": null}', None],
    "list<string?>": [['a,"b" {', None, ""], []],
    "list<int64>?": [[2**63 - 1, -1], []],
    "list<decimal(20,2)>": [[Decimal("1.10")], []],
    "list<timestamp>": [[dt.datetime(2026, 5, 1, 0, 0, 0, 1_000, tzinfo=dt.UTC)], []],
    "list<uuid>": [[_UUID], []],
    "list<bool>": [[True, False], []],
}


@pytest.mark.parametrize("kind", _TYPES)
async def test_a_type_comes_back_exactly(batch_case: BatchCase, kind: str) -> None:
    rows = [{"id": place, "value": value} for place, value in enumerate(_TYPES[kind])]
    columns = {"id": "int64", "value": kind}
    for run in (1, 2):
        batch = Batch("2026-05-01", run, rows)
        await batch_case.load(batch_case.table("merge", batch, columns=columns, cursor=None), rows)
        assert await batch_case.final() == ordered(rows)
    found = await batch_case.target.final_rows(batch_case.name, 1)
    assert found.to_pylist() == rows[:1]


@pytest.mark.parametrize("kind", ["int32", "int64", "decimal(38,10)", "date", "timestamp"])
async def test_a_cursor_of_a_type_decides_which_row_is_newer(
    batch_case: BatchCase, kind: str
) -> None:
    values: dict[str, list[object]] = {
        "int32": [-5, 7],
        "int64": [-(2**63), 2**63 - 1],
        "decimal(38,10)": [Decimal("-9" + "9" * 27 + ".5"), Decimal("9" * 28 + ".1234567891")],
        "date": [dt.date(1950, 1, 1), dt.date(2026, 1, 1)],
        "timestamp": [
            dt.datetime(1950, 1, 1, tzinfo=dt.UTC),
            dt.datetime(1950, 1, 1, 0, 0, 0, 1_000, tzinfo=dt.UTC),
        ],
    }
    low, high = values[kind]
    columns = {"id": "int64", "name": "string", "seen": f"{kind}?"}
    order = [(low, "low"), (high, "high"), (None, "none"), (low, "low again"), (high, "high again")]
    shown = ["low", "high", "high", "high", "high again"]
    for run, ((seen, name), wanted) in enumerate(zip(order, shown, strict=True), 1):
        batch = Batch(f"day {run}", run, [{"id": 1, "name": name, "seen": seen}])
        table = batch_case.table("merge", batch, columns=columns, cursor="seen")
        await batch_case.load(table, batch.rows)
        assert [item["name"] for item in await batch_case.final()] == [wanted]


@pytest.mark.parametrize("mode", MODES)
async def test_a_new_column_is_null_in_older_rows_and_a_lost_one_in_newer(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    first, second, third = (
        Batch("a", 1, [row(1, "a", 1)]),
        Batch("b", 2, [{**row(2, "b", 2), "size": 5}]),
        Batch("c", 3, [{"id": 3, "changed": None, "size": 6}], moment=3),
    )
    wider = {**COLUMNS, "size": "int32"}
    narrower = {name: kind for name, kind in wider.items() if name != "name"}
    await batch_case.load(batch_case.table(mode, first), first.rows)
    table = batch_case.table(mode, second, columns=wider)
    plan = await batch_case.target.preflight(table)
    assert any("size" in statement for statement in plan.statements)
    await batch_case.load(table, second.rows)
    table = batch_case.table(mode, third, columns=narrower)
    await batch_case.load(table, third.rows)
    assert (await batch_case.target.preflight(table)).statements == []
    found = [
        {name: value for name, value in item.items() if name not in HISTORY}
        for item in await batch_case.final()
    ]
    assert ordered(found) == ordered(
        [
            {**first.rows[0], "size": None},
            second.rows[0],
            {**third.rows[0], "name": None},
        ]
    )


async def test_a_column_that_changes_its_type_is_refused_before_anything_is_written(
    batch_case: BatchCase,
) -> None:
    batch = Batch("a", 1, [row(1, "a", 1)])
    await batch_case.load(batch_case.table("merge", batch), batch.rows)
    before = await batch_case.catalogue()
    other = batch_case.table("merge", Batch("b", 2, []), columns={**COLUMNS, "name": "int64?"})
    with pytest.raises(SinkRefusedError, match="`name`"):
        await batch_case.target.preflight(other)
    assert await batch_case.catalogue() == before


async def test_a_table_of_another_pipeline_or_mode_is_refused(batch_case: BatchCase) -> None:
    batch = Batch("a", 1, [row(1, "a", 1)])
    await batch_case.load(batch_case.table("merge", batch), batch.rows)
    for other in (
        batch_case.table("merge", batch, pipeline="other"),
        batch_case.table("append", batch),
        batch_case.table("scd2", batch),
        batch_case.table("merge", batch, key=("id", "name")),
    ):
        with pytest.raises(SinkRefusedError, match=batch_case.name):
            await batch_case.target.preflight(other)


@pytest.mark.parametrize(
    ("columns", "key", "cursor", "reason"),
    [
        ({"id": "int64", "_row": "int64"}, ("id",), None, "reserved"),
        ({"id": "int64"}, (), None, "key"),
        ({"id": "int64"}, ("no",), None, "no column"),
        ({"id": "json"}, ("id",), None, "expected one of"),
        ({"id": "int64"}, ("id",), "no", "cursor `no` is no column"),
        ({"id": "int64", "at": "bool"}, ("id",), "at", "cast it"),
    ],
)
async def test_a_declaration_that_no_target_can_hold_is_refused(
    batch_case: BatchCase,
    columns: dict[str, str],
    key: tuple[str, ...],
    cursor: str | None,
    reason: str,
) -> None:
    table = batch_case.table("merge", Batch("a", 1, []), columns=columns, key=key, cursor=cursor)
    with pytest.raises(SinkRefusedError, match=reason):
        await batch_case.target.preflight(table)


async def test_a_null_that_was_not_declared_is_refused(batch_case: BatchCase) -> None:
    table = batch_case.table("append", Batch("a", 1, []), columns={"id": "int64"})
    await batch_case.target.open(table)
    with pytest.raises(ContractViolationError, match="nulls"):
        await batch_case.stage(table, 0, "x", [{"id": 1}, {"id": None}])
    await batch_case.target.discard(table)
