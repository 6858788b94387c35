"""Runs of partials that overlap, against every row of each."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from streaming.partial import FRESH, start_partials
from streaming.plan import compile_stream
from streaming.run_merge import merge_runs
from streaming.window import PANE
from tests.unit.streaming.state_maker import spec_with

Runs = tuple[list[int], list[tuple[int, int]]]

CALLS = {
    "n": "count(*)",
    "total": "sum(value)",
    "low": "min(value)",
    "high": "max(value)",
    "kinds": "approx_count_distinct(value)",
}


@st.composite
def runs(draw: st.DrawFn) -> Runs:
    values = draw(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=70))
    run = st.integers(0, len(values) - 1).flatmap(
        lambda begin: st.tuples(st.just(begin), st.integers(begin + 1, len(values)))
    )
    return values, draw(st.lists(run, min_size=1, max_size=30))


@given(case=runs(), seed=st.integers(0, 2**16))
def test_run_holds_exactly_its_rows(case: Runs, seed: int) -> None:
    values, spans = case
    changes = {
        "fields": {"at": "timestamp_ms", "value": "int64"},
        "group_by": [],
        "aggregate": CALLS,
    }
    plan = compile_stream(spec_with().model_copy(update=changes))
    rows = start_partials(plan, pl.DataFrame({PANE: range(len(values)), "value": values}))
    stored = np.random.default_rng(seed).permutation(len(values))
    merged = merge_runs(
        plan.aggregates,
        rows.drop(PANE, FRESH)[stored],
        np.argsort(stored),
        np.array([begin for begin, _ in spans]),
        np.array([end for _, end in spans]),
    )
    found = {aggregate.column: list(aggregate.finish(merged)) for aggregate in plan.aggregates}
    inside = [values[begin:end] for begin, end in spans]
    assert found == {
        "n": [len(run) for run in inside],
        "total": [sum(run) for run in inside],
        "low": [min(run) for run in inside],
        "high": [max(run) for run in inside],
        "kinds": [len(set(run)) for run in inside],
    }
