"""Any sequence of writes, crashes, retries and zombies leaves what a dictionary says."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import StaleEpochError
from tests.conformance.sink_case import VERSIONS_DECIDE, SinkCase, chunk_of, row, table_of

_Flush = dict[tuple[int, str | None], int | None]
"""(minute, category) to sales; None is a tombstone."""

_KEYS = st.tuples(st.integers(-1, 1), st.sampled_from(["a", "", None]))
_FLUSHES = st.lists(
    st.dictionaries(_KEYS, st.none() | st.integers(0, 9), max_size=5), min_size=1, max_size=4
)
_REPEATS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=5)
_EPOCHS = st.lists(st.tuples(_FLUSHES, _REPEATS), min_size=1, max_size=2)

_tables = iter(range(1_000_000))


@dataclass
class _Model:
    """What the final view must show, by the highest version of every row."""

    kept: dict[tuple[int, str | None], tuple[int, int | None]] = field(default_factory=dict)

    def apply(self, version: int, rows: _Flush) -> None:
        for key, sales in rows.items():
            if key not in self.kept or self.kept[key][0] < version:
                self.kept[key] = (version, sales)

    def final(self) -> list[tuple[int, str | None, int]]:
        rows = [
            (minute, category, sales)
            for (minute, category), (_, sales) in self.kept.items()
            if sales is not None
        ]
        return sorted(rows, key=lambda item: (-item[0], item[1] is None, item[1] or ""))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(epochs=_EPOCHS)
async def test_the_final_view_equals_a_dictionary_of_the_highest_versions(
    case: SinkCase, name: str, epochs: list[tuple[list[_Flush], list[tuple[int, int]]]]
) -> None:
    table = table_of(f"{name}_{next(_tables)}")
    await case.prepare(table)
    model = _Model()
    written: list[tuple[int, int, int, _Flush]] = []
    for epoch, (flushes, repeats) in enumerate(epochs, start=1):
        for flush_seq, flush in enumerate(flushes, start=1):
            chunks: list[_Flush] = [dict(list(flush.items())[place::2]) for place in (0, 1)]
            for place, rows in enumerate(chunks):
                written.append((epoch, flush_seq, place, rows))
                await _write(case, table.name, *written[-1])
                model.apply(epoch << 40 | flush_seq, rows)
        for back, place in repeats:
            await _write(case, table.name, *written[-1 - (2 * back + place) % len(written)])
    for zombie in written[:4]:
        await _write(case, table.name, *zombie)
    assert await case.final(table) == model.final()


async def _write(
    case: SinkCase, name: str, epoch: int, flush_seq: int, place: int, rows: _Flush
) -> None:
    """Write a chunk; a sink may refuse an older epoch, which changes nothing either."""
    table = table_of(name)
    chunk = chunk_of(table, flush_seq, epoch=epoch, chunk=place, count=2)
    laid = [
        row(minute, category, sales or 0, deleted=sales is None)
        for (minute, category), sales in rows.items()
    ]
    try:
        await case.write(table, chunk, *laid)
    except StaleEpochError:
        assert case.kind not in VERSIONS_DECIDE
