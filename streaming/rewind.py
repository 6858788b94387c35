"""A rewind: where a stream computes again from, and its state turned back to there.

A floor is fixed, a window boundary. Windows before it stay as older epochs wrote them; those from
it on are computed again in a new epoch, from offsets before which no record was after the floor. A
raw stream has no floor: it writes its events again from such offsets on, or from any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from common.duration import format_time
from common.errors import UsageError
from pipelines.stream import StreamSpec
from streaming.completeness import restart_completeness
from streaming.early import forget_early
from streaming.floor import EARLIEST_MS, Floors, open_from
from streaming.ledger import Ledger
from streaming.offset_index import Entry, last_at
from streaming.progress import RangeResult
from streaming.raw_retirement import expect_rows, left_behind
from streaming.restart import (
    exact_from,
    is_beginning,
    known_index,
    offset_before,
    offset_to_know,
    require_log,
    require_read,
    restarted_index,
)
from streaming.retirement import settle_below
from streaming.room import has_retirement_room
from streaming.seen import let_go
from streaming.state import PartitionState, Retiring, StreamState
from streaming.status import RewindTo
from streaming.watermark import keeping_watermark, latest_event_ms
from streaming.window import Windowing


@dataclass(frozen=True)
class Rewind:
    """Where to go back to.

    Attributes:
        floor_ms: Windows that begin at or after it are computed again; of sessions, those whose
            first event is not before it; None of a raw stream.
        offsets: Where each partition is read from again.
        rows_from: From which offsets on events are in windows that are shown, or are written again.
            Those before are read for what de-duplication has to know.
        takes_back: Whether rows of a raw stream go that are not written again. By a declared
            identity only if all is read again, since an event before the offsets may have one, too.
    """

    floor_ms: int | None
    offsets: dict[int, int]
    rows_from: dict[int, int]
    takes_back: bool = True


def plan_rewind(
    state: StreamState,
    spec: StreamSpec,
    windows: Windowing,
    to: RewindTo,
    starts: dict[int, int],
    bounds: Sequence[int] = (),
) -> Rewind:
    """Fix the floor, and find where each partition begins again.

    Args:
        state: Where the stream stands.
        spec: The stream.
        windows: Its windows.
        to: The time or the offsets that were asked for.
        starts: First offset still in the log, per partition; one that is not named is not checked.
        bounds: Boundaries around `times_to_look_up`, for windows that follow a time zone.

    Raises:
        UsageError: A partition does not exist, an offset is not read yet, or a window before the
            floor is not emitted yet.
        OffsetLostError: Records that are needed are no longer in the log.
    """
    if spec.raw:
        return _plan_raw(state, spec, to, starts)
    if windows.zone is not None and not bounds:
        raise UsageError(
            f"rewind of stream `{spec.name}`: expected to be told where the days of "
            f"{windows.zone} begin, got nothing; a worker of an older version answered, ask again"
        )
    floors = Floors(windows, bounds)
    highest_ms = floors.highest(state, spec)
    if to.offsets is None:
        at_ms = max(EARLIEST_MS, to.time_ms or 0)
        floor_ms = min(floors.at(at_ms), highest_ms)
        named: dict[int, Entry] = {}
    else:
        named = _named(state, to.offsets)
        maxima = [maximum_ms for _, maximum_ms in named.values() if maximum_ms is not None]
        floor_ms = floors.above(max(maxima, default=None))
        if floor_ms > highest_ms:
            raise UsageError(
                f"rewind of stream `{spec.name}` to offsets: expected every window before "
                f"{format_time(floor_ms)} to be emitted already, got some from "
                f"{format_time(highest_ms)} on that are not; name earlier offsets, or "
                "`--to` a time"
            )
    since_ms = windows.reads_from(floor_ms)
    offsets = {
        number: named[number][0] if number in named else offset_before(partition, since_ms)
        for number, partition in sorted(state.partitions.items())
    }
    reading = _reading(state, spec, offsets)
    require_log(spec, state, reading, starts)
    return Rewind(floor_ms, reading, offsets)


def times_to_look_up(
    state: StreamState, spec: StreamSpec, windows: Windowing, to: RewindTo
) -> list[int]:
    """Give the times around which `plan_rewind` needs the boundaries of a zone's days.

    A plan that is made somewhat later needs others, perhaps, and takes the nearest of these that
    holds.

    Raises:
        UsageError: A partition does not exist, or an offset is not read yet.
    """
    if windows.zone is None:
        return []
    times = [EARLIEST_MS, max(EARLIEST_MS, to.time_ms or 0)]
    maxima = [maximum_ms for _, maximum_ms in _named(state, to.offsets or {}).values()]
    times += [maximum_ms for maximum_ms in maxima if maximum_ms is not None]
    keep_ms = keeping_watermark(state)
    open_ms = None if keep_ms is None else open_from(state, windows, keep_ms - spec.late.allowed_ms)
    return times if open_ms is None else [*times, open_ms]


def require_room(state: StreamState, spec: StreamSpec, rewind: Rewind) -> None:
    """Refuse a rewind while sinks have too much to take back of those before it.

    Each one may leave a flush behind that says which rows go, and they wait in the state.

    Raises:
        UsageError: There is no room for one more.
    """
    waiting = [flush for flush in state.flushes if flush.retire is not None]
    spans = 0
    if rewind.floor_ms is None:
        spans = len(left_behind(state, rewind.rows_from, takes_back=rewind.takes_back))
    if has_retirement_room(state, spans):
        return
    last = waiting[-1].flush_seq
    behind = ", ".join(f"`{c.name}`" for c in state.sinks if c.done < last)
    raise UsageError(
        f"rewind of stream `{spec.name}`: expected the sinks to have taken back most of what older "
        f"epochs wrote, got {len(waiting)} steps of earlier rewinds that wait for {behind}; wait "
        "until `sluice stream status` shows no pending flushes, and rewind then"
    )


def apply_rewind(
    state: StreamState,
    windows: Windowing,
    rewind: Rewind,
    epoch: int,
    now_ms: int,
    once: Callable[[], bool] = lambda: True,
) -> None:
    """Turn a state back: a new epoch, its watermark, maxima and ledger from the beginning.

    What older epochs have frozen for sinks and side outputs is still delivered, under their number.
    `once` is as in `expect_rows`.
    """
    if rewind.floor_ms is None:
        expect_rows(state, rewind.rows_from, takes_back=rewind.takes_back, once=once)
        _pin_epoch(state)
    else:
        settle_below(state, windows, rewind.floor_ms)
        _pin_epoch(state)
        state.retiring = _retiring(state, windows, rewind.floor_ms)
        restart_completeness(state, rewind.floor_ms)
    state.base_epoch = state.base_epoch or state.epoch
    state.epoch, state.floor_ms = epoch, rewind.floor_ms
    state.garbage += [s.blob.ref for s in state.segments if s.blob.ref is not None]
    state.segments, state.fresh_segments, state.planned = [], 0, []
    state.combining_bytes = 0
    state.watermark_ms = state.fired_ms = None
    forget_early(state)
    state.flushed_rows = 0
    state.ledger, state.started_consumed, state.started_ms = Ledger(), 0, now_ms
    for number, partition in state.partitions.items():
        offset = rewind.offsets[number]
        stays = offset == partition.cursor
        state.garbage += [] if stays else let_go(partition.seen, None)
        state.partitions[number] = PartitionState(
            cursor=offset,
            planned=offset,
            end=partition.end,
            until=partition.until,
            index=restarted_index(partition, offset),
            seen=partition.seen if stays else None,
            stale=partition.stale,
            passed=[entry for entry in partition.passed if entry[0] <= offset],
            written_to=partition.written_to if partition.written_to > offset else 0,
            rows_from=since if (since := rewind.rows_from[number]) > offset else 0,
        )


def forget_results(state: StreamState, results: dict[tuple[int, int], RangeResult]) -> None:
    """Throw away finished ranges that were not merged, and let their objects go."""
    for (number, _), result in results.items():
        state.garbage += let_go(result.seen, state.partitions[number].seen)
        blobs = [*([result.segment.blob] if result.segment else []), *result.late]
        blobs += [*result.rows, *([result.dead] if result.dead else [])]
        state.garbage += [blob.ref for blob in blobs if blob.ref is not None]
    results.clear()


def _reading(state: StreamState, spec: StreamSpec, since: dict[int, int]) -> dict[int, int]:
    """Give where partitions are read from, so that from some offsets on all is judged alike."""
    if spec.deduplicate is None:
        return since
    within_ms = spec.deduplicate.within_ms
    return {n: offset_to_know(state.partitions[n], at, within_ms) for n, at in since.items()}


def _plan_raw(state: StreamState, spec: StreamSpec, to: RewindTo, starts: dict[int, int]) -> Rewind:
    """Find from where on a raw stream writes its events again.

    Partitions that are not named stay where they are: no event depends on another partition.
    """
    if to.offsets is None:
        time_ms = max(EARLIEST_MS, to.time_ms or 0)
        since = {n: offset_before(p, time_ms) for n, p in sorted(state.partitions.items())}
    else:
        require_read(state, to.offsets)
        since = {n: to.offsets.get(n, exact_from(p)) for n, p in sorted(state.partitions.items())}
    offsets = _reading(state, spec, since)
    require_log(spec, state, offsets, starts)
    whole = all(is_beginning(state.partitions[n], offset) for n, offset in since.items())
    return Rewind(None, offsets, since, takes_back=whole or not spec.identity)


def _named(state: StreamState, offsets: dict[int, int]) -> dict[int, Entry]:
    """Find the entries at or before the offsets that were asked for."""
    require_read(state, offsets)
    return {n: last_at(known_index(state.partitions[n]), at) for n, at in offsets.items()}


def _pin_epoch(state: StreamState) -> None:
    """Note on all that waits for a sink or a topic in which epoch it was frozen."""
    for flush in state.flushes:
        flush.epoch = flush.epoch or state.epoch
    for batch in (*state.dead.waiting, *state.late.waiting):
        batch.epoch = batch.epoch or state.epoch


def _retiring(state: StreamState, windows: Windowing, floor_ms: int) -> Retiring | None:
    """Say which rows of older epochs may have to go; None when there are none."""
    until_ms = state.emitted_ms
    if until_ms is None and state.flush_seq:  # emitted before it was kept in mind
        seen_ms = latest_event_ms(state)
        if seen_ms is not None:
            until_ms = windows.latest_end(windows.pane_start(seen_ms), seen_ms)
    if until_ms is None or until_ms <= floor_ms:
        return None
    state.emitted_ms = until_ms
    return Retiring(since_epoch=state.base_epoch or state.epoch, until_ms=until_ms)
