"""What a rewound stream takes back of older epochs, in every sink."""

import pytest

from activities.ports import RetiredRows
from common.errors import StaleEpochError
from tests.conformance.sink_case import (
    MINUTE_MS,
    VERSIONS_DECIDE,
    SinkCase,
    chunk_of,
    row,
    table_of,
)

pytestmark = pytest.mark.timeout(120)


def minutes(first: int, last: int, *, after: int | None = None, since: int = 2) -> RetiredRows:
    """Mean the windows from minute `first` on that end after `after` and up to `last`."""
    after_ms = (first if after is None else after) * MINUTE_MS
    return RetiredRows(since, first * MINUTE_MS, after_ms, last * MINUTE_MS)


async def test_what_the_new_epoch_did_not_replace_disappears_from_the_floor_to_the_end(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    old = [row(minute, key, minute) for minute in (-1, 2, 3, 4, 5, 6) for key in ("a", "b", None)]
    await case.write(table, chunk_of(table, 7, epoch=2), *old)
    await case.write(table, chunk_of(table, 8, epoch=3), row(3, "a", 30), row(4, "a", 4))
    await case.sink.retire(table, chunk_of(table, 9, epoch=3), minutes(3, 6))
    untouched = [(minute, key, minute) for minute in (2, -1) for key in ("a", "b", None)]
    expected = [
        *((6, key, 6) for key in ("a", "b", None)),
        (4, "a", 4), (3, "a", 30), *untouched,
    ]  # fmt: skip
    assert await case.final(table) == expected
    for _ in range(2):
        await case.sink.retire(table, chunk_of(table, 9, epoch=3), minutes(3, 6))
    assert await case.final(table) == expected


async def test_a_late_writer_of_an_older_epoch_brings_nothing_back(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    zombie = chunk_of(table, 7, epoch=2)
    await case.write(table, zombie, row(1, "a", 5), row(1, "b", 6))
    await case.write(table, chunk_of(table, 8, epoch=3), row(1, "a", 9))
    await case.sink.retire(table, chunk_of(table, 9, epoch=3), minutes(0, 9))
    if case.kind in VERSIONS_DECIDE:
        await case.write(table, zombie, row(1, "a", 5), row(1, "b", 6))
    else:
        with pytest.raises(StaleEpochError):
            await case.write(table, zombie, row(1, "a", 5), row(1, "b", 6))
    assert await case.final(table) == [(1, "a", 9)]


async def test_a_retirement_that_wakes_up_late_takes_no_newer_row(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, epoch=2), row(1, "a", 5), row(1, "b", 6))
    await case.write(table, chunk_of(table, 3, epoch=3), row(1, "a", 9))
    await case.sink.retire(table, chunk_of(table, 2, epoch=3), minutes(0, 9))
    assert (await case.final(table))[0] == (1, "a", 9)


async def test_a_row_that_was_taken_back_comes_again_as_a_revision(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, epoch=2), row(1, "a", 5))
    await case.sink.retire(table, chunk_of(table, 2, epoch=3), minutes(0, 9))
    assert await case.final(table) == []
    await case.write(table, chunk_of(table, 3, epoch=3), row(1, "a", 6))
    assert await case.final(table) == [(1, "a", 6)]


async def test_a_second_step_looks_at_later_windows_only_and_epochs_before_the_first_stay(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, epoch=1), row(2, "x", 1), row(4, "x", 1))
    await case.write(table, chunk_of(table, 1, epoch=2), row(2, "a", 5), row(4, "a", 7))
    await case.sink.retire(table, chunk_of(table, 2, epoch=3), minutes(2, 3))
    assert await case.final(table) == [(4, "a", 7), (4, "x", 1), (2, "x", 1)]
    await case.sink.retire(table, chunk_of(table, 3, epoch=3), minutes(2, 5, after=3))
    assert await case.final(table) == [(4, "x", 1), (2, "x", 1)]


async def test_a_retirement_of_nothing_leaves_the_next_flush_its_place(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.sink.retire(table, chunk_of(table, 1, epoch=2), minutes(0, 9, since=1))
    await case.write(table, chunk_of(table, 2, epoch=2), row(1, "a", 5))
    await case.sink.retire(table, chunk_of(table, 3, epoch=2), minutes(0, 9, since=1))
    assert await case.final(table) == [(1, "a", 5)]
    assert (await case.prepare(table)).highest_epoch == 2


async def test_many_rows_are_taken_back(
    case: SinkCase, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.kafka_flush_sink.RETIRED_AT_ONCE", 1_000)
    table = table_of(name)
    await case.prepare(table)
    old = [row(minute, "a", minute) for minute in range(2_501)]
    await case.write(table, chunk_of(table, 1, epoch=1), *old)
    await case.sink.retire(table, chunk_of(table, 2, epoch=2), minutes(1, 2_501, since=1))
    assert await case.final(table) == [(0, "a", 0)]
    await case.sink.retire(table, chunk_of(table, 2, epoch=2), minutes(1, 2_501, since=1))
    assert await case.final(table) == [(0, "a", 0)]
