"""What readers of every sink are told about how far its windows are whole."""

import pytest

from common.errors import StaleEpochError
from tests.conformance.sink_case import SinkCase, chunk_of, row, table_of

TELLS_WITHOUT_ROWS = ("clickhouse", "postgres", "timescaledb", "lake")


async def test_nothing_is_told_before_a_flush_and_its_time_with_the_last_chunk(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    assert await case.complete(table) is None
    first, second = (chunk_of(table, 1, chunk=n, count=2, complete=3) for n in (0, 1))
    await case.write(table, first, row(1, "a", 5))
    assert await case.complete(table) is None
    for _ in range(2):
        await case.write(table, second, row(2, "b", 6))
        assert await case.complete(table) == (1, 3)
    told = await case.sink.progress(table)
    assert told is not None
    assert told.version == second.version


async def test_what_is_told_never_goes_back_in_an_epoch_and_begins_anew_with_the_next(
    case: SinkCase, name: str
) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, complete=3), row(1, "a", 5))
    await case.write(table, chunk_of(table, 2, complete=7), row(5, "a", 5))
    await case.write(table, chunk_of(table, 1, complete=3), row(1, "a", 5))  # a zombie
    assert await case.complete(table) == (1, 7)
    await case.write(table, chunk_of(table, 1, epoch=2, complete=2), row(1, "a", 6))
    assert await case.complete(table) == (2, 2)


async def test_time_that_passes_without_rows_is_told(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, complete=3), row(1, "a", 5))
    await case.tell(table, 9)
    await case.tell(table, 12)
    await case.tell(table, 10)  # a zombie
    told = 12 if case.kind in TELLS_WITHOUT_ROWS else 3
    assert await case.complete(table) == (1, told)
    await case.write(table, chunk_of(table, 2, complete=20), row(15, "a", 5))
    assert await case.complete(table) == (1, 20)
    assert await case.final(table) == [(15, "a", 5), (1, "a", 5)]


@pytest.mark.parametrize("server", ["postgres", "postgres-copied", "timescaledb"], indirect=True)
async def test_an_older_epoch_tells_nothing(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, epoch=2, complete=3), row(1, "a", 5))
    with pytest.raises(StaleEpochError):
        await case.tell(table, 99, epoch=1)
    assert await case.complete(table) == (2, 3)


async def test_a_table_prepared_again_still_tells(case: SinkCase, name: str) -> None:
    table = table_of(name)
    await case.prepare(table)
    await case.write(table, chunk_of(table, 1, complete=-5), row(-7, "a", 5))
    await case.prepare(table)
    assert await case.complete(table) == (1, -5)
