"""Rows on their way through schema, contract, steps and gate, against plain Python."""

import json
from dataclasses import replace

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from batch.clean import CleanPart, clean_part, digest
from batch.clean_plan import plan_of
from batch.schema_change import decide
from contracts.contract import Contract, ContractField, FieldRule
from pipelines.etl import Check, EtlSpec, EtlStep, Target
from pipelines.etl_source import PostgresSource

COLUMNS = {"id": "int64", "amount": "int64?", "note": "string?", "extra": "string?"}
BEFORE = {"id": "int64", "amount": "int64?", "note": "string?"}
LEAST, MOST, WANTED = 10, 90, 20

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.none() | st.integers(0, 100),
            "note": st.none() | st.sampled_from(["a", "b b", "c,d"]),
            "extra": st.none() | st.just("new"),
        }
    ),
    max_size=40,
)

CONTRACT = Contract(
    name="orders",
    version="1.0.0",
    status="active",
    identifier="orders",
    dataset="orders",
    fields=[
        ContractField(
            name="amount",
            type="int64?",
            rules=[
                FieldRule(rule="amount.maximum", field="amount", kind="maximum", values=[str(MOST)])
            ],
        )
    ],
)
SPEC = EtlSpec(
    name="orders",
    source=PostgresSource(table="orders"),
    contract=CONTRACT,
    on_schema_change="discard_row",
    transform=[
        EtlStep(where=f"amount is null or amount >= {LEAST}"),
        EtlStep(expand={"word": "unnest(string_split(note, ' '))"}),
    ],
    gate=[Check(check="range", fields=["amount"], min=str(WANTED), severity="quarantine")],
    targets=[Target(kind="clickhouse", table="orders")],
)


def cleaned(rows: list[dict[str, object]], cut: int, released: frozenset[str]) -> list[CleanPart]:
    """Take rows through in two parts."""
    decision = decide(COLUMNS, BEFORE, SPEC.on_schema_change, SPEC.name)
    plan = plan_of(SPEC, decision, COLUMNS, {}, len(rows))
    plan = replace(plan, released=released)
    schema = {"id": pl.Int64, "amount": pl.Int64, "note": pl.String, "extra": pl.String}
    frame = pl.DataFrame(rows, schema=schema)
    return [
        clean_part(plan, frame[:cut], 3, 0),
        clean_part(plan, frame[cut:], 3, min(cut, frame.height)),
    ]


@given(rows=ROWS, cut=st.integers(0, 40), let=st.booleans())
def test_every_row_is_loaded_filtered_or_set_aside_for_its_first_reason(
    rows: list[dict[str, object]], cut: int, let: bool
) -> None:
    numbered = [{"id": place, **row} for place, row in enumerate(rows)]
    loaded: list[tuple[int, str]] = []
    aside: dict[int, str] = {}
    filtered = 0
    first_pass = cleaned(numbered, cut, frozenset())
    contents = [text for part in first_pass for text in part.quarantine["content"]]
    released = frozenset(digest(text) for text in contents) if let else frozenset[str]()
    for row in numbered:
        amount, note = row["amount"], row["note"]
        words = [] if note is None else str(note).split(" ")
        if row["extra"] is not None:
            aside[int(str(row["id"]))] = "schema"
        elif isinstance(amount, int) and amount > MOST and not let:
            aside[int(str(row["id"]))] = "contract"
        elif (isinstance(amount, int) and amount < LEAST) or not words:
            filtered += 1
        elif isinstance(amount, int) and amount < WANTED and not let:
            aside[int(str(row["id"]))] = "range(amount)"
        else:
            loaded += [(int(str(row["id"])), word) for word in words]

    parts = cleaned(numbered, cut, released)

    found = [pair for part in parts for pair in part.rows.select("_row", "word").iter_rows()]
    assert found == loaded
    quarantine = pl.concat([part.quarantine for part in parts])
    assert dict(quarantine.select("row", "check").iter_rows()) == aside
    assert sum(part.filtered for part in parts) == filtered
    for row_number, content in quarantine.select("row", "content").iter_rows():
        assert json.loads(content)["id"] == str(row_number)
    for part in parts:
        went = part.rows.height + part.filtered + part.quarantine.height
        assert part.rows_in + part.expanded == went
