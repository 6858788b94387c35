"""What a rewound stream takes back of older epochs, in every sink."""

import pytest

from activities.ports import RetiredEvents, RetiredRows
from common.errors import StaleEpochError
from tests.conformance.sink_case import (
    MINUTE_MS,
    VERSIONS_DECIDE,
    SinkCase,
    chunk_of,
    row,
    table_of,
)
from tests.conformance.test_raw_sink import event, offsets, raw_table, write

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


def events_at(spans: list[tuple[int, int, int]], since: int = 2) -> RetiredEvents:
    """Mean the events of epochs from `since` on at some offsets."""
    return RetiredEvents(since << 40, tuple(spans))


async def test_events_at_passed_offsets_that_were_not_written_again_disappear(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    await write(case, table, chunk_of(table, 1, epoch=1), event(13))
    await write(case, table, chunk_of(table, 7, epoch=2), *(event(at) for at in range(10, 19)))
    await write(case, table, chunk_of(table, 8, epoch=3), event(12), event(14))
    taken = chunk_of(table, 9, epoch=3)
    for _ in range(2):
        await case.sink.retire(table, taken, events_at([(0, 0, 99), (1, 12, 15), (1, 17, 18)]))
        assert await offsets(case, table) == [18, 16, 15, 14, 12, 11, 10]
    await case.sink.retire(table, chunk_of(table, 10, epoch=3), events_at([(1, 0, 11)]))
    await write(case, table, chunk_of(table, 11, epoch=3), event(13))
    assert await offsets(case, table) == [18, 16, 15, 14, 13, 12, 11]


async def test_events_of_versions_before_the_first_one_meant_stay(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name)
    await case.prepare(table)
    await write(case, table, chunk_of(table, 4, epoch=2), event(1))
    await write(case, table, chunk_of(table, 5, epoch=2), event(2))
    meant = RetiredEvents((2 << 40) + 5, ((1, 0, 9),))
    await case.sink.retire(table, chunk_of(table, 6, epoch=3), meant)
    assert await offsets(case, table) == [1]


async def test_by_id_the_last_version_of_a_row_says_where_its_event_is(
    case: SinkCase, name: str
) -> None:
    table = raw_table(case, name, by_id=True)
    await case.prepare(table)
    old = [event(5, by_id=7), event(6, by_id=8), event(7, by_id=9)]
    await write(case, table, chunk_of(table, 1, epoch=2), *old)
    await write(case, table, chunk_of(table, 2, epoch=2), event(60, by_id=8))
    await write(case, table, chunk_of(table, 3, epoch=3), event(2, by_id=9))
    await case.sink.retire(table, chunk_of(table, 4, epoch=3), events_at([(1, 0, 20)]))
    assert await offsets(case, table) == [60, 2]
