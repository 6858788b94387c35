import json
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.stream import decoder_of
from contracts.contract import FieldRule, PinnedContract
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Window
from streaming.decode import RecordDecoder
from streaming.plan import compile_stream
from tests.unit.streaming.record_maker import block_of

CONTRACT = PinnedContract(
    name="orders",
    version="1.2.0",
    defaults={"status": "new", "count": "1"},
    rules=[
        FieldRule(rule="amount.minimum", field="amount", kind="minimum", values=["0.01"]),
        FieldRule(
            rule="status.known", field="status", kind="one_of", values=["new", "paid"],
            severity="block",
        ),
        FieldRule(rule="note.there", field="note", kind="required"),
    ],
)  # fmt: skip


def spec_of(contract: PinnedContract | None) -> StreamSpec:
    return StreamSpec(
        name="orders",
        topic="orders",
        fields={
            "at": "timestamp_ms",
            "amount": "decimal(12,2)",
            "status": "string",
            "count": "int64",
            "note": "string?",
        },
        event_time=EventTime(field="at"),
        sinks=[SinkSpec(kind="clickhouse", table="t")],
        contract=contract,
    )


def broken(record: dict[str, Any]) -> tuple[str, str] | None:
    """Say by which rule a record is dead, and of which field: the block first, then as written."""
    if record.get("status") not in {None, "new", "paid"}:
        return "status.known", "status"
    if record.get("amount") is None:
        return "decoding", "amount"
    if Decimal(str(record["amount"])) < Decimal("0.01"):
        return "amount.minimum", "amount"
    return None if record.get("note") is not None else ("note.there", "note")


RECORDS = st.fixed_dictionaries(
    {"at": st.integers(0, 99)},
    optional={
        "amount": st.none() | st.sampled_from([-1.5, 0, 0.01, 0.02, 7]),
        "status": st.none() | st.sampled_from(["new", "paid", "old"]),
        "count": st.none() | st.integers(0, 9),
        "note": st.none() | st.text(max_size=2),
    },
)


@settings(max_examples=150)
@given(st.lists(RECORDS, max_size=12))
def test_every_record_is_a_row_with_its_defaults_or_dead_by_its_first_rule(
    records: list[dict[str, Any]],
) -> None:
    offsets = [3 * place + 5 for place in range(len(records))]
    block = block_of([(None, json.dumps(one).encode()) for one in records], offsets)

    decoded = decoder_of(spec_of(CONTRACT)).decode(block, 10**9)

    good = [one for one in records if broken(one) is None]
    assert decoded.rows.select("at", "status", "count").rows() == [
        (
            pl.select(pl.lit(one["at"]).cast(pl.Datetime("ms", "UTC"))).item(),
            one.get("status") or "new",
            1 if one.get("count") is None else one["count"],
        )
        for one in good
    ]
    bad = [(place, why) for place, one in enumerate(records) if (why := broken(one))]
    # The decoder comes first: where both refuse a record, it is the decoder's.
    undecoded = {place for place, one in enumerate(records) if one.get("amount") is None}
    assert [(dead.row, dead.offset) for dead in decoded.dead] == [
        (place, offsets[place]) for place, _ in bad
    ]
    for dead, (place, (rule, name)) in zip(decoded.dead, bad, strict=True):
        if place in undecoded:
            assert dead.error_field == "amount"
        else:
            assert dead.error_field == name
            assert f"rule `{rule}`" in dead.error


def test_dead_letter_says_contract_rule_what_was_expected_and_what_came() -> None:
    record = {"at": 1, "amount": -1.5, "status": "paid", "note": "x"}
    block = block_of([(None, json.dumps(record).encode())])

    [dead] = decoder_of(spec_of(CONTRACT)).decode(block, 10**9).dead

    assert dead.error == (
        "record breaks contract `orders` 1.2.0, rule `amount.minimum`: `amount` must be "
        "at least 0.01, got -1.50"
    )


def test_stream_without_rules_has_the_plain_decoder() -> None:
    silent = PinnedContract(name="orders", version="1.2.0")

    assert isinstance(decoder_of(spec_of(None)), RecordDecoder)
    assert isinstance(decoder_of(spec_of(silent)), RecordDecoder)


def test_a_field_that_only_a_rule_reads_is_decoded() -> None:
    window = Window(kind="tumbling", size_ms=10)
    windowed = {"window": window, "aggregate": {"n": "count(*)"}}

    plan = compile_stream(spec_of(CONTRACT).model_copy(update=windowed))

    assert plan.wanted == {"at", "amount", "status", "note"}


def test_hash_of_results_ignores_the_version_of_a_contract_but_not_its_rules() -> None:
    with_contract = spec_of(CONTRACT)
    newer = CONTRACT.model_copy(update={"version": "1.3.0"})
    looser = CONTRACT.model_copy(update={"rules": CONTRACT.rules[:1]})

    assert spec_of(newer).result_hash() == with_contract.result_hash()
    assert spec_of(looser).result_hash() != with_contract.result_hash()
    assert spec_of(None).result_hash() != with_contract.result_hash()
