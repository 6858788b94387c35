"""Where a partition is read from again: what its index knows, and what the log still holds."""

from common.errors import OffsetLostError, UsageError
from pipelines.stream import StreamSpec
from streaming.offset_index import Entry, last_at, last_before
from streaming.state import PartitionState, StreamState


def known_index(partition: PartitionState) -> list[Entry]:
    """Give the index, and what is known at the cursor."""
    index = partition.index
    seen = [m for m in (partition.max_event_ms, *(m for _, m in index[-1:])) if m is not None]
    at_cursor = (partition.cursor, max(seen, default=None))
    return [*(entry for entry in index if entry[0] < partition.cursor), at_cursor]


def is_beginning(partition: PartitionState, offset: int) -> bool:
    """Tell whether no record that the stream read before an offset was an event."""
    return any(at >= offset and maximum_ms is None for at, maximum_ms in known_index(partition))


def offset_before(partition: PartitionState, time_ms: int) -> int:
    """Give the last offset of which it is known that all records before it are before a time."""
    return last_before(known_index(partition), time_ms)[0]


def restarted_index(partition: PartitionState, offset: int) -> list[Entry]:
    """Give the index of a partition that begins again at an offset.

    Between two entries the later one tells what is known of the records before the offset.
    """
    known = known_index(partition)
    kept = [entry for entry in known if entry[0] <= offset]
    if offset > 0 and (not kept or kept[-1][0] < offset):
        kept.append((offset, next(maximum_ms for at, maximum_ms in known if at > offset)))
    return kept


def exact_from(partition: PartitionState) -> int:
    """Give the offset from which on all is judged as in a run from the beginning.

    It is the cursor, unless a rewound partition still reads what it has to know before.
    """
    return max(partition.cursor, partition.rows_from)


def offset_to_know(partition: PartitionState, offset: int, within_ms: int) -> int:
    """Give where to read from, so that at an offset de-duplication knows what a run before knew.

    An event that passed matters there when its time is at least the maximum of all that passed
    before, less `within_ms`. So nothing does that stands before an offset up to which the maximum
    is lower than that, and the maximum itself stands after it. The maximum at an entry before the
    offset is at most the one at the offset, so less is left out with it.
    """
    if offset == exact_from(partition):
        return partition.cursor  # what is known goes on
    reached_ms = last_at(partition.passed, offset)[1]
    for at, known_ms in reversed(partition.passed):
        if known_ms is None or (reached_ms is not None and known_ms < reached_ms - within_ms):
            return min(at, offset)
    return 0


def require_read(state: StreamState, offsets: dict[int, int]) -> None:
    """Refuse offsets that a person named and the stream has not come to.

    Raises:
        UsageError: A partition does not exist, or an offset is not read yet.
    """
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


def require_log(
    spec: StreamSpec, state: StreamState, offsets: dict[int, int], starts: dict[int, int]
) -> None:
    """Refuse to read what is deleted; `starts` are the first offsets that the log still has.

    Raises:
        OffsetLostError: Records that are needed are no longer in the log.
    """
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
