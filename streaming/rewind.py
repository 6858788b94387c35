"""A rewind: where a stream computes again from, and its state turned back to there.

A floor is fixed, a window boundary. Windows before it stay as older epochs wrote them; those from
it on are computed again in a new epoch, from offsets before which no record was after the floor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from common.duration import format_time
from common.errors import OffsetLostError, UsageError
from pipelines.stream import StreamSpec
from streaming.completeness import restart_completeness
from streaming.early import forget_early
from streaming.floor import EARLIEST_MS, Floors, open_from
from streaming.ledger import Ledger
from streaming.offset_index import Entry, last_at, last_before
from streaming.progress import RangeResult
from streaming.retirement import settle_below
from streaming.state import PartitionState, Retiring, StreamState
from streaming.status import RewindTo
from streaming.watermark import keeping_watermark, latest_event_ms
from streaming.window import Windowing


@dataclass(frozen=True)
class Rewind:
    """Where to go back to.

    Attributes:
        floor_ms: Windows that begin at or after it are computed again; of sessions, those whose
            first event is not before it.
        offsets: Where each partition begins again.
    """

    floor_ms: int
    offsets: dict[int, int]


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
        UsageError: The stream is raw, a partition does not exist, an offset is not read yet, or a
            window before the floor is not emitted yet.
        OffsetLostError: Records that are needed are no longer in the log.
    """
    _require_windows(spec)
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
        number: named.get(number, last_before(_known(partition), since_ms))[0]
        for number, partition in sorted(state.partitions.items())
    }
    _require_log(spec, state, offsets, starts)
    return Rewind(floor_ms, offsets)


def times_to_look_up(
    state: StreamState, spec: StreamSpec, windows: Windowing, to: RewindTo
) -> list[int]:
    """Give the times around which `plan_rewind` needs the boundaries of a zone's days.

    A plan that is made somewhat later needs others, perhaps, and takes the nearest of these that
    holds.

    Raises:
        UsageError: The stream drops duplicates, a partition does not exist, or an offset is not
            read yet.
    """
    if windows.zone is None:
        return []
    _require_windows(spec)
    times = [EARLIEST_MS, max(EARLIEST_MS, to.time_ms or 0)]
    maxima = [maximum_ms for _, maximum_ms in _named(state, to.offsets or {}).values()]
    times += [maximum_ms for maximum_ms in maxima if maximum_ms is not None]
    keep_ms = keeping_watermark(state)
    open_ms = None if keep_ms is None else open_from(state, windows, keep_ms - spec.late.allowed_ms)
    return times if open_ms is None else [*times, open_ms]


def apply_rewind(
    state: StreamState, windows: Windowing, rewind: Rewind, epoch: int, now_ms: int
) -> None:
    """Turn a state back: a new epoch, its watermark, maxima and ledger from the beginning.

    What older epochs have frozen for sinks and side outputs is still delivered, under their number.
    """
    settle_below(state, windows, rewind.floor_ms)
    _pin_epoch(state)
    state.retiring = _retiring(state, windows, rewind.floor_ms)
    state.base_epoch = state.base_epoch or state.epoch
    state.epoch, state.floor_ms = epoch, rewind.floor_ms
    restart_completeness(state, rewind.floor_ms)
    state.garbage += [s.blob.ref for s in state.segments if s.blob.ref is not None]
    state.segments, state.fresh_segments, state.planned = [], 0, []
    state.watermark_ms = state.fired_ms = None
    forget_early(state)
    state.flushed_rows = 0
    state.ledger, state.started_consumed, state.started_ms = Ledger(), 0, now_ms
    for number, partition in state.partitions.items():
        offset = rewind.offsets[number]
        state.partitions[number] = PartitionState(
            cursor=offset,
            planned=offset,
            end=partition.end,
            until=partition.until,
            index=[entry for entry in _known(partition) if entry[0] <= offset],
        )


def forget_results(state: StreamState, results: dict[tuple[int, int], RangeResult]) -> None:
    """Throw away finished ranges that were not merged, and let their objects go."""
    for result in results.values():
        blobs = [*([result.segment.blob] if result.segment else []), *result.late]
        blobs += [*result.rows, *([result.dead] if result.dead else [])]
        state.garbage += [blob.ref for blob in blobs if blob.ref is not None]
    results.clear()


def _require_windows(spec: StreamSpec) -> None:
    """Refuse raw streams, and de-duplication, which would not know the events before any more."""
    if spec.deduplicate is not None:
        raise UsageError(
            f"rewind of stream `{spec.name}`: expected one without `deduplicate`, got one with it, "
            "which would no longer know the events before that point: not supported yet by this "
            "version; start it with `--fresh`"
        )
    if spec.raw:
        raise UsageError(
            f"rewind of stream `{spec.name}`: expected one with windows, got a raw stream, whose "
            "rows would be written again as they are; start it with `--fresh --from TIME` to do so"
        )


def _known(partition: PartitionState) -> list[Entry]:
    """Give the index, and what is known at the cursor."""
    index = partition.index
    seen = [m for m in (partition.max_event_ms, *(m for _, m in index[-1:])) if m is not None]
    at_cursor = (partition.cursor, max(seen, default=None))
    return [*(entry for entry in index if entry[0] < partition.cursor), at_cursor]


def _named(state: StreamState, offsets: dict[int, int]) -> dict[int, Entry]:
    """Find the entries at or before the offsets that were asked for."""
    if unknown := sorted(offsets.keys() - state.partitions.keys()):
        raise UsageError(
            f"`--to-offset` of topic `{state.topic}`: expected partitions "
            f"{sorted(state.partitions)}, got {unknown}; name existing ones"
        )
    for number, offset in offsets.items():
        cursor = state.partitions[number].cursor
        if offset > cursor:
            raise UsageError(
                f"`--to-offset` of topic `{state.topic}`, partition {number}: expected an offset "
                f"up to {cursor}, which the stream has read, got {offset}; name an earlier one"
            )
    return {n: last_at(_known(state.partitions[n]), offset) for n, offset in offsets.items()}


def _require_log(
    spec: StreamSpec, state: StreamState, offsets: dict[int, int], starts: dict[int, int]
) -> None:
    lost = {n: starts[n] for n, at in offsets.items() if starts.get(n, at) > at}
    # What begins at its end reads nothing that could be lost.
    lost = {n: start for n, start in lost.items() if offsets[n] < state.partitions[n].end}
    if lost:
        wanted = ", ".join(f"{n} from {offsets[n]}" for n in lost)
        found = ", ".join(f"{n} from {start}" for n, start in lost.items())
        raise OffsetLostError(
            f"rewind of stream `{spec.name}`: expected the records of partitions {wanted} on in "
            f"topic `{spec.topic}`, got {found}: older ones are deleted, and rows computed without "
            "them would replace right ones; rewind to a later time"
        )


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
