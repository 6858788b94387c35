"""The estimate of distinct values, and the hash under it."""

import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.field_type_parse import parse_field_type
from pipelines.expression_aggregate import parse_aggregate
from streaming.aggregate_family import aggregate_of
from streaming.field_dtype import polars_type
from streaming.value_hash import MAX_DIRECT_BYTES, hash_values

MASK = 2**64 - 1


def hashed(values: list[object], kind: str) -> list[int]:
    field = parse_field_type(kind)
    found: list[int] = hash_values(pl.Series("v", values, polars_type(field)), field).tolist()
    return found


def reference(words: list[int]) -> int:
    """Mix words in plain Python, after the publication."""
    state = 0
    for word in words:
        z = ((state ^ word) + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        state = z ^ (z >> 31)
    return state


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_hash_of_integers_is_that_of_their_word(values: list[object]) -> None:
    assert hashed(values, "int64") == [reference([int(str(v)) & MASK]) for v in values]


@given(values=st.lists(st.text(max_size=20), max_size=5))
def test_hash_of_texts_is_that_of_their_bytes(values: list[str]) -> None:
    def words(text: str) -> list[int]:
        content = text.encode()
        chunks = (content[i : i + 8] for i in range(0, len(content), 8))
        return [len(content), *(int.from_bytes(chunk, "little") for chunk in chunks)]

    short = [v for v in values if len(v.encode()) <= MAX_DIRECT_BYTES]
    assert hashed(list(short), "string") == [reference(words(text)) for text in short]


@given(units=st.integers(-(10**38) + 1, 10**38 - 1))
def test_hash_of_decimals_is_that_of_both_words(units: int) -> None:
    value = Decimal(units)
    assert hashed([value], "decimal(38,0)") == [reference([(units >> 64) & MASK, units & MASK])]


def test_hash_never_changes() -> None:
    """The state of running streams holds registers that later versions add to."""
    assert hashed([0, 1, -1], "int64") == [
        16294208416658607535, 10451216379200822465, 16490336266968443936,
    ]  # fmt: skip
    assert hashed(["", "a", "x" * 100], "string") == [
        16294208416658607535, 6774081908283191102, 16866746984240214013,
    ]  # fmt: skip
    assert hashed([1.5], "float64") == [reference([0x3FF8000000000000])]


def test_one_value_has_one_hash() -> None:
    assert len(set(hashed([0.0, -0.0], "float64"))) == 1
    assert len(set(hashed([math.nan, -math.nan], "float64"))) == 1
    assert hashed(["b" * 70, "a" * 70, "b" * 70], "string")[::2] == hashed(["b" * 70] * 2, "string")
    assert len(set(hashed(["a", "a\0", "", "\0"], "string"))) == 4


@pytest.mark.parametrize("count", [1, 10, 100, 1_000, 5_000, 10_000, 20_000, 100_000, 1_000_000])
def test_estimate_is_within_four_standard_errors(count: int) -> None:
    aggregate = aggregate_of(
        "x", parse_aggregate("approx_count_distinct(v)", {"v": parse_field_type("int64")}), "a0"
    )
    error = []
    for seed in range(3):
        values = np.arange(count, dtype=np.int64) + seed * 10**9
        rows = pl.DataFrame({"k": 1, "v": np.concatenate([values, values[: count // 2]])})
        rows = rows.with_columns(aggregate.prepare(rows))
        groups = rows.group_by("k").agg(aggregate.start())
        groups = groups.with_columns(aggregate.settle(groups))
        error.append(aggregate.finish(groups).item() / count - 1)
    assert max(map(abs, error)) < 4 * 1.04 / math.sqrt(4096)
    if count <= 10:
        assert error == [0, 0, 0]
