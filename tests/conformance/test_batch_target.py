"""Every batch target, in every mode: twice is once, zombies are harmless, nothing is left."""

import asyncio
import contextlib
import itertools

import pytest

from activities.etl_ports import Published
from common.errors import ContractViolationError, FatalError, SinkRefusedError, SluiceError
from pipelines.etl import KEYED_MODES, WriteMode
from tests.conformance.batch_case import MODES, Batch, BatchCase, expected_rows, ordered, row

pytestmark = pytest.mark.conformance

FIRST = Batch("2026-05-01", 1, [row(1, "a", 1), row(2, "b", 2), row(3, None, 3)], moment=10)
SECOND = Batch("2026-05-02", 2, [row(2, "b2", 12), row(3, None, 13), row(4, "", 14)], moment=20)
EMPTY = Batch("2026-05-02", 3, [], moment=20)

each_mode = pytest.mark.parametrize("mode", MODES)


def slotted(mode: WriteMode, batch: Batch) -> Batch:
    """Give `replace` its one slot, the whole table; the others keep their intervals."""
    return Batch("", batch.run, batch.rows, batch.moment) if mode == "replace" else batch


@each_mode
async def test_runs_show_what_plain_python_expects(batch_case: BatchCase, mode: WriteMode) -> None:
    batches = [slotted(mode, batch) for batch in (FIRST, SECOND)]
    for place, batch in enumerate(batches, 1):
        published = await batch_case.load(batch_case.table(mode, batch), batch.rows)
        assert await batch_case.final() == ordered(expected_rows(mode, batches[:place]))
        counted = published.inserted + published.updated
        if batch_case.kind == "lake" and mode in KEYED_MODES and place > 1:
            assert published == Published(written=len(batch.rows))
        else:
            assert counted > 0


@each_mode
async def test_publishing_twice_is_publishing_once(batch_case: BatchCase, mode: WriteMode) -> None:
    table = batch_case.table(mode, FIRST)
    tokens = await batch_case.staged(table, FIRST.rows)
    assert await batch_case.target.publish(table, tokens) == Published(inserted=3)
    before = await batch_case.catalogue()
    assert await batch_case.target.publish(table, tokens) == Published()
    assert await batch_case.catalogue() == before
    await batch_case.target.discard(table)
    assert await batch_case.target.publish(table, tokens) == Published()
    assert await batch_case.final() == ordered(expected_rows(mode, [FIRST]))


@each_mode
async def test_an_attempt_that_is_not_named_is_not_counted(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    table = batch_case.table(mode, FIRST)
    await batch_case.target.open(table)
    await batch_case.stage(table, 0, "slow", [row(1, "zombie"), row(9, "zombie")])
    await batch_case.stage(table, 0, "new", FIRST.rows)
    await batch_case.stage(table, 1, "empty", [])
    tokens = {0: "new", 1: "empty"}
    assert await batch_case.target.staged(table, tokens) == {0: 3, 1: 0}
    await batch_case.stage(table, 0, "late", [row(8, "zombie")])
    await batch_case.target.publish(table, tokens)
    await batch_case.stage(table, 0, "later", [row(7, "zombie")])
    assert await batch_case.final() == ordered(expected_rows(mode, [FIRST]))
    await batch_case.target.discard(table)


async def test_an_attempt_after_the_clean_up_leaves_nothing(batch_case: BatchCase) -> None:
    table = batch_case.table("merge", FIRST)
    before = await batch_case.catalogue()
    await batch_case.staged(table, FIRST.rows)
    await batch_case.target.discard(table)
    with pytest.raises(FatalError):
        await batch_case.stage(table, 0, "late", FIRST.rows)
    assert await batch_case.catalogue() == before


@each_mode
async def test_a_run_without_rows_publishes_an_empty_slot(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    batches = [slotted(mode, one) for one in (Batch("2026-05-01", 0, []), FIRST, SECOND, EMPTY)]
    for place, batch in enumerate(batches, 1):
        await batch_case.load(batch_case.table(mode, batch), batch.rows)
        assert await batch_case.final() == ordered(expected_rows(mode, batches[:place]))


@each_mode
async def test_a_slot_that_runs_again_with_fewer_rows(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    again = Batch(FIRST.slot, 3, [row(2, "again", 2)], moment=10)
    batches = [slotted(mode, one) for one in (FIRST, SECOND, again)]
    for batch in batches:
        await batch_case.load(batch_case.table(mode, batch), batch.rows)
    assert await batch_case.final() == ordered(expected_rows(mode, batches))


@each_mode
async def test_a_run_older_than_the_slots_last_changes_nothing(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    older = Batch(EMPTY.slot, 1, [row(2, "older", 99), row(7, "older", 99)], moment=20)
    for newer in (SECOND, EMPTY):
        await batch_case.load(batch_case.table(mode, newer), newer.rows)
        table = batch_case.table(mode, older)
        tokens = await batch_case.staged(table, older.rows)
        before = await batch_case.catalogue()
        assert await batch_case.target.publish(table, tokens) == Published()
        assert await batch_case.catalogue() == before
        await batch_case.target.discard(table)
    assert await batch_case.final() == ordered(expected_rows(mode, [SECOND, EMPTY, older]))


@pytest.mark.parametrize("cursor", ["changed", None])
@each_mode
async def test_an_older_interval_that_runs_later(
    batch_case: BatchCase, mode: WriteMode, cursor: str | None
) -> None:
    late = Batch("2026-04-30", 3, [row(1, "late", 0), row(2, "late", 12), row(5, None, None)], 5)
    batches = [FIRST, SECOND, late]
    for batch in batches:
        await batch_case.load(batch_case.table(mode, batch, cursor=cursor), batch.rows)
    wanted = expected_rows(mode, batches, cursor=cursor is not None)
    assert await batch_case.final() == ordered(wanted)


@pytest.mark.parametrize("mode", sorted(KEYED_MODES))
@pytest.mark.parametrize(
    "wrong", [[row(None, "x")], [row(8, "x"), row(8, "y")], [row(8, "x", 1), row(8, "x", 2)]]
)
async def test_null_and_repeated_keys_are_refused_before_anything_changes(
    batch_case: BatchCase, mode: WriteMode, wrong: list[dict[str, object]]
) -> None:
    for there in (False, True):
        if there:
            await batch_case.load(batch_case.table(mode, FIRST), FIRST.rows)
        before = await batch_case.catalogue()
        table = batch_case.table(mode, SECOND)
        with pytest.raises(ContractViolationError, match=r"`id`|\(id\)"):
            await batch_case.target.publish(
                table, await batch_case.staged(table, [*SECOND.rows, *wrong], chunks=2)
            )
        await batch_case.target.discard(table)
        assert await batch_case.catalogue() == before


@each_mode
async def test_discarding_leaves_no_trace(batch_case: BatchCase, mode: WriteMode) -> None:
    for there in (False, True):
        if there:
            await batch_case.load(batch_case.table(mode, FIRST), FIRST.rows)
        before = await batch_case.catalogue()
        table = batch_case.table(mode, SECOND)
        await batch_case.staged(table, SECOND.rows)
        assert await batch_case.catalogue() != before
        await batch_case.target.discard(table)
        await batch_case.target.discard(table)
        assert await batch_case.catalogue() == before


async def test_opening_drops_the_staging_of_older_runs_of_the_slot(batch_case: BatchCase) -> None:
    before = await batch_case.catalogue()
    older = batch_case.table("merge", Batch(SECOND.slot, 1, []))
    tokens = await batch_case.staged(older, FIRST.rows)
    other = batch_case.table("merge", FIRST)
    other_tokens = await batch_case.staged(other, FIRST.rows)
    table = batch_case.table("merge", SECOND)
    await batch_case.target.open(table)
    assert await batch_case.target.staged(older, tokens) == {0: 0, 1: 0}
    assert await batch_case.target.staged(other, other_tokens) == {0: 2, 1: 1}
    with pytest.raises(SinkRefusedError, match="staging"):
        await batch_case.target.publish(older, tokens)
    for one in (other, table):
        await batch_case.target.discard(one)
    assert await batch_case.catalogue() == before


@each_mode
async def test_preflight_writes_nothing_and_later_has_nothing_to_do(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    table = batch_case.table(mode, FIRST)
    before = await batch_case.catalogue()
    plan = await batch_case.target.preflight(table)
    assert any(batch_case.name in statement for statement in plan.statements)
    assert await batch_case.catalogue() == before
    await batch_case.load(table, FIRST.rows)
    assert (await batch_case.target.preflight(table)).statements == []


@each_mode
async def test_a_publication_killed_at_any_change_is_done_again(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    await batch_case.load(batch_case.table(mode, slotted(mode, FIRST)), FIRST.rows)
    table = batch_case.table(mode, slotted(mode, SECOND))
    tokens = await batch_case.staged(table, SECOND.rows)
    wanted = [slotted(mode, batch) for batch in (FIRST, SECOND)]
    before, after = (ordered(expected_rows(mode, wanted[:n])) for n in (1, 2))
    kills = 0
    for limit in range(100):

        async def kill(place: int, limit: int = limit) -> None:
            if place >= limit:
                raise ConnectionResetError("killed")

        try:
            await batch_case.hooked(kill).publish(table, tokens)
        except SluiceError:
            kills += 1
            assert await batch_case.final() in (before, after)
        else:
            break
    assert kills > 0
    assert await batch_case.final() == after
    await batch_case.target.publish(table, tokens)
    await batch_case.target.discard(table)
    assert await batch_case.final() == after
    assert not [name for name in await batch_case.catalogue() if "stage" in name]


@each_mode
async def test_a_publication_that_sleeps_through_a_newer_run_changes_nothing_or_came_before_it(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    first = slotted(mode, FIRST)
    await batch_case.load(batch_case.table(mode, first), first.rows)
    batches = [first]
    for limit in range(100):
        older = Batch(first.slot, 10 * limit + 10, [row(2, f"old{limit}", 50 + limit)], 10)
        newer = Batch(first.slot, 10 * limit + 11, [row(1, f"new{limit}", 60 + limit)], 10)
        empty = Batch(first.slot, 10 * limit + 12, [], 10)
        older = empty if limit % 2 else older
        newer = Batch(newer.slot, empty.run + 1, newer.rows, 10)
        slept = False

        async def sleep(place: int, limit: int = limit, newer: Batch = newer) -> None:
            nonlocal slept
            if place == limit:
                slept = True
                await batch_case.load(batch_case.table(mode, newer), newer.rows)

        table = batch_case.table(mode, older)
        tokens = await batch_case.staged(table, older.rows)
        failed = False
        try:
            await batch_case.hooked(sleep).publish(table, tokens)
        except SluiceError:
            failed = True
        await batch_case.target.discard(table)
        if not slept:
            break
        without, both = [*batches, newer], [*batches, older, newer]
        found = await batch_case.final()
        kept = both if found == ordered(expected_rows(mode, both)) else without
        assert found == ordered(expected_rows(mode, kept)), (limit, failed)
        batches = kept
    assert limit > 0
    assert not [name for name in await batch_case.catalogue() if "stage" in name]


@pytest.mark.parametrize("published", [False, True])
async def test_staging_and_cleaning_killed_at_any_change_leave_nothing(
    batch_case: BatchCase,
    published: bool,
) -> None:
    await batch_case.load(batch_case.table("merge", FIRST), FIRST.rows)
    wanted = expected_rows("merge", [FIRST, SECOND] if published else [FIRST])
    before, ended = await batch_case.catalogue(), False
    for limit in itertools.count():

        async def kill(place: int, limit: int = limit) -> None:
            if place >= limit:
                raise ConnectionResetError("killed")

        table = batch_case.table("merge", SECOND)
        tokens = await batch_case.staged(table, SECOND.rows)
        with contextlib.suppress(SluiceError):
            await batch_case.stage(table, 0, "killed", SECOND.rows, batch_case.hooked(kill))
        if published:
            await batch_case.target.publish(table, tokens)
        try:
            await batch_case.hooked(kill).discard(table)
        except SluiceError:
            await batch_case.target.discard(table)
        else:
            ended = True
        if limit == 0 and published:
            before = await batch_case.catalogue()
        assert await batch_case.catalogue() == before
        assert await batch_case.final() == ordered(wanted)
        if ended:
            break


@each_mode
async def test_publishing_twice_at_the_same_time_is_publishing_once(
    batch_case: BatchCase, mode: WriteMode
) -> None:
    batches = [slotted(mode, batch) for batch in (FIRST, SECOND)]
    for place, batch in enumerate(batches, 1):
        table = batch_case.table(mode, batch)
        tokens = await batch_case.staged(table, batch.rows)
        await asyncio.gather(*(batch_case.target.publish(table, tokens) for _ in range(3)))
        await batch_case.target.discard(table)
        assert await batch_case.final() == ordered(expected_rows(mode, batches[:place]))
    assert not [name for name in await batch_case.catalogue() if "stage" in name]
