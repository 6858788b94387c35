"""Own functions among the steps: each row as its function says, failing ones set apart."""

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UserFunctionError
from pipelines.python_function import load_function
from pipelines.transform import PythonCall, Step
from streaming.combine import combine
from streaming.ledger import Ledger
from streaming.partial import aggregate_events
from streaming.plan import StreamPlan, compile_stream
from streaming.resource import Resources
from streaming.window import END_OF_TIME_MS
from tests.unit.python_project import Project, project
from tests.unit.streaming.event_log import make_spec

__all__ = ["project"]

FIELDS = {"at": "timestamp_ms", "amount": "float64?", "country": "string"}


def plan_of(*steps: Step, **changes: object) -> StreamPlan:
    shape = {
        "fields": FIELDS, "group_by": [], "aggregate": {"n": "count(*)"}, "transform": list(steps),
    }  # fmt: skip
    spec = make_spec(0, 10).model_copy(update={**shape, **changes})
    plan = compile_stream(spec)
    functions = {call.python: load_function(call) for call in plan.steps.calls}
    return replace(plan, steps=plan.steps.bind(Resources(functions=functions)))


def frame_of(rows: list[tuple[float | None, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "at": [0] * len(rows),
            "amount": [amount for amount, _ in rows],
            "country": [country for _, country in rows],
            "_offset": range(len(rows)),
        },
        schema={
            "at": pl.Int64, "amount": pl.Float64, "country": pl.String, "_offset": pl.Int64,
        },
    ).with_columns(pl.col("at").cast(pl.Datetime("ms", "UTC")))  # fmt: skip


Told = tuple[object, Ledger, list[tuple[int, str]]]


def told(plan: StreamPlan, rows: list[tuple[float | None, str]], column: str) -> Told:
    partial = aggregate_events(plan, frame_of(rows), None)
    emitted = combine(plan, [partial.frame], END_OF_TIME_MS, None).emitted
    value = emitted[column].item() if emitted.height else None
    return value, partial.ledger, [(error.row, error.error) for error in partial.errors]


ROWS = st.lists(
    st.tuples(st.none() | st.integers(0, 9).map(float), st.sampled_from(["de", "xx"])), max_size=30
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS)
def test_rows_that_a_function_fails_on_are_dead_letters_and_the_others_are_computed(
    project: Project, rows: list[tuple[float | None, str]]
) -> None:
    plan = plan_of(
        Step(derive={"score": project.call("score", "amount", "country")}),
        Step(where=project.call("is_good", "score + 1 - 1", returns="bool?")),
        aggregate={"total": "sum(score)"},
    )
    value, ledger, errors = told(plan, rows, "total")
    good = [amount * 2 for amount, country in rows if amount is not None and country != "xx"]
    kept = [score for score in good if score > 1]
    dead = [row for row, (amount, country) in enumerate(rows) if amount is None or country == "xx"]
    assert value == (sum(kept) if kept else None)
    assert [row for row, _ in errors] == dead
    assert ledger == Ledger(
        aggregated=len(kept), filtered=len(good) - len(kept), dead_lettered=len(dead)
    )


def test_reason_of_a_dead_letter_names_the_function_and_its_error(project: Project) -> None:
    plan = plan_of(Step(derive={"score": project.call("score", "amount", "country")}))
    _, _, errors = told(plan, [(None, "de"), (1.0, "xx"), (1.0, "de")], "n")
    assert errors == [
        (0, "function `ownshop.scoring.score`: ValueError: no amount in 1 rows"),
        (
            1,
            "function `ownshop.scoring.score`: expected a value (`returns: float64`), got null; "
            "declare `float64?` where null is right",
        ),
    ]


def test_null_is_a_value_where_it_is_declared(project: Project) -> None:
    call = project.call("score", "amount", "country", returns="float64?")
    plan = plan_of(Step(derive={"score": call}), aggregate={"n": "count(score)"})
    assert told(plan, [(1.0, "xx"), (1.0, "de")], "n") == (1, Ledger(aggregated=2), [])


def test_a_constant_argument_has_a_value_for_each_row(project: Project) -> None:
    call = project.call("is_good", "2", returns="bool?")
    plan = plan_of(Step(where=call))
    assert told(plan, [(1.0, "xx"), (1.0, "de")], "n") == (2, Ledger(aggregated=2), [])


@pytest.mark.parametrize(
    ("name", "argument", "returns", "text"),
    [
        ("whole", "amount", "int64", "expected a polars Series of type Int64 .*, got one of type"),
        ("short", "amount", "float64?", "one value for each of 2 rows, got 1 values"),
        ("listed", "amount", "float64?", "got a list"),
        ("named", "amount", "float64?", "NameError: name 'undefined_name' is not defined"),
        ("greedy", "amount", "float64?", "must compute each row by itself"),
    ],
)
def test_a_function_that_is_not_as_declared_stops_the_stream(
    project: Project, name: str, argument: str, returns: str, text: str
) -> None:
    plan = plan_of(Step(derive={"x": project.call(name, argument, returns=returns)}))
    with pytest.raises(UserFunctionError, match=text):
        told(plan, [(1.0, "de"), (2.0, "de")], "n")


def test_values_that_no_sink_can_store_are_dead_letters(project: Project) -> None:
    plan = plan_of(Step(derive={"x": project.call("nul", "country", returns="string")}))
    _, ledger, errors = told(plan, [(1.0, "de")], "n")
    assert ledger == Ledger(dead_lettered=1)
    assert "text with NUL" in str(errors)


def test_a_plan_compiles_without_importing_and_refuses_to_run_unbound() -> None:
    call = PythonCall(python="nowhere.f", args=["amount"], returns="float64", code="x")
    spec = make_spec(0, 10).model_copy(
        update={"fields": FIELDS, "group_by": [], "transform": [Step(derive={"x": call})]}
    )
    spec = spec.model_copy(update={"aggregate": {"n": "sum(x)"}})
    with pytest.raises(UserFunctionError, match="expected to be loaded by now"):
        aggregate_events(compile_stream(spec), frame_of([(1.0, "de")]), None)
