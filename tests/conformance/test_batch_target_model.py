"""Any order of runs, old and new, published once or twice, leaves what plain Python expects."""

import itertools

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.etl import WriteMode
from tests.conformance.batch_case import MODES, Batch, BatchCase, expected_rows, ordered, row

_ROWS = st.dictionaries(
    st.integers(0, 2), st.tuples(st.sampled_from(["a", "b", None]), st.none() | st.integers(0, 3)),
    max_size=3,
)  # fmt: skip
_RUNS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), _ROWS), min_size=1, max_size=5)

_tables = itertools.count()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(runs=_RUNS, mode=st.sampled_from(MODES), with_cursor=st.booleans())
async def test_readers_see_what_a_dictionary_of_versions_says(
    batch_case: BatchCase,
    runs: list[tuple[int, int, dict[int, tuple[str | None, int | None]]]],
    mode: WriteMode,
    with_cursor: bool,
) -> None:
    batch_case.name = f"{batch_case.name.split('_')[0]}_{next(_tables)}"
    batches = []
    for slot, number, rows in runs:
        listed = [row(identity, *rest) for identity, rest in rows.items()]
        batches.append(Batch(f"day {slot}", 3 * number + slot, listed, moment=slot))
        table = batch_case.table(mode, batches[-1], cursor="changed" if with_cursor else None)
        tokens = await batch_case.staged(table, listed)
        await batch_case.target.publish(table, tokens)
        await batch_case.target.publish(table, tokens)
        await batch_case.target.discard(table)
    wanted = expected_rows(mode, batches, cursor=with_cursor)
    assert await batch_case.final() == ordered(wanted)
