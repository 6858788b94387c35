import polars as pl
import pytest

from batch.conform import conform
from batch.schema_change import decide
from common.errors import SourceRefusedError
from pipelines.etl import SchemaMode

BEFORE = {"id": "int64", "name": "string?", "price": "decimal(10,2)?"}


def test_the_first_run_takes_what_there_is() -> None:
    decision = decide(BEFORE, None, "freeze", "orders")

    assert decision.columns == BEFORE
    assert decision.changes == []


def test_freeze_refuses_every_change_before_anything_is_written() -> None:
    found = {"id": "int64", "price": "decimal(10,2)?", "note": "string?"}

    with pytest.raises(SourceRefusedError, match=r"new column `note`.*column `name` is gone"):
        decide(found, BEFORE, "freeze", "orders")


def test_evolve_adds_new_columns_as_nullable_and_keeps_lost_ones_as_null() -> None:
    found = {"id": "int64", "price": "decimal(10,2)?", "note": "string"}

    decision = decide(found, BEFORE, "evolve", "orders")

    assert decision.columns == {**BEFORE, "note": "string?"}
    assert decision.missing == ["name"]
    assert len(decision.changes) == 2


def test_a_lost_column_that_allows_no_null_is_refused_in_every_mode() -> None:
    modes: list[SchemaMode] = ["evolve", "discard_row", "discard_value"]
    for mode in modes:
        with pytest.raises(SourceRefusedError, match="allows no null"):
            decide({"name": "string?", "price": "decimal(10,2)?"}, BEFORE, mode, "orders")


@pytest.mark.parametrize(
    ("kind", "now", "wanted"),
    [
        ("int32", "int64", "int64"),
        ("int64", "int32", "int64"),
        ("int64", "int64?", "int64?"),
        ("decimal(10,2)", "decimal(12,2)", "decimal(12,2)"),
        ("decimal(12,4)", "decimal(10,2)", "decimal(12,4)"),
        ("timestamp", "timestamp(6)", "timestamp(6)"),
        ("int64", "decimal(19,0)", "decimal(19,0)"),
    ],
)
def test_evolve_takes_the_type_that_holds_both(kind: str, now: str, wanted: str) -> None:
    assert decide({"x": now}, {"x": kind}, "evolve", "orders").columns == {"x": wanted}


def test_evolve_refuses_a_type_with_other_values() -> None:
    with pytest.raises(SourceRefusedError, match="holds other values"):
        decide({"x": "string"}, {"x": "int64"}, "evolve", "orders")


def test_discard_row_rejects_rows_with_a_value_in_a_new_column() -> None:
    decision = decide({**BEFORE, "note": "string?"}, BEFORE, "discard_row", "orders")
    rows = pl.DataFrame(
        {"id": [1, 2], "name": ["a", "b"], "price": [None, None], "note": [None, "x"]},
        schema_overrides={"price": pl.Decimal(10, 2)},
    )

    kept, rejected = conform(rows, decision, "discard_row")

    assert kept.columns == list(BEFORE)
    assert rejected.rows() == [(1, "note", "expected no column `note`, got one with a value")]


@pytest.mark.parametrize("mode", ["discard_row", "discard_value"])
def test_a_value_that_no_longer_fits_is_discarded_with_or_without_its_row(mode: SchemaMode) -> None:
    decision = decide({"id": "int64", "n": "string?"}, {"id": "int64", "n": "int32?"}, mode, "o")
    rows = pl.DataFrame({"id": [1, 2, 3], "n": ["7", "seven", None]})

    kept, rejected = conform(rows, decision, mode)

    assert kept["n"].to_list() == [7, None, None]
    wanted = [] if mode == "discard_value" else [(1, "n")]
    assert rejected.select("place", "field").rows() == wanted


def test_discard_value_does_not_read_new_columns() -> None:
    decision = decide({**BEFORE, "note": "string?"}, BEFORE, "discard_value", "orders")

    assert decision.columns == BEFORE
    assert decision.surplus == []
