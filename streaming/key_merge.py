"""What merges of key ranges came to, put together as if one merge had done it all."""

import hashlib
from collections.abc import Iterable, Sequence

from common.payloads import Model
from streaming.key_range import overlaps
from streaming.progress import CombineResult, CombineTask
from streaming.segment import Blob, KeySpan, Segment


class KeyCombineResult(Model):
    """What the merge of a span of key ranges came to.

    Attributes:
        kept: Window state that stays; None when nothing does.
        emitted: Frozen rows, in objects one after the other; none when no window fired.
    """

    kept: Segment | None = None
    emitted: list[Blob] = []


def part_of(task: CombineTask, span: KeySpan) -> CombineTask:
    """Leave out the segments that hold no keys of a span."""
    chosen = [segment for segment in task.segments if overlaps(segment, span)]
    return task.model_copy(update={"segments": chosen})


def segment_of(blob: Blob, span: KeySpan, merged: Sequence[CombineResult]) -> Segment:
    """Describe what stays of a span of key ranges, merged one by one."""
    kept = [result.kept for result in merged if result.kept is not None]
    unshown = [s.unshown for s in kept if s.unshown is not None]
    return Segment(
        blob=blob,
        first_pane_ms=min(s.first_pane_ms for s in kept),
        last_pane_ms=max(s.last_pane_ms for s in kept),
        first_fresh_ms=_first(s.first_fresh_ms for s in kept),
        due_ms=_first(s.due_ms for s in kept),
        unshown=None if unshown == [] else sum(unshown),
        keys=span,
    )


def joined(results: Sequence[KeyCombineResult]) -> CombineResult:
    """Put the results of all spans together, in the order of the spans."""
    pieces = [result.kept for result in results if result.kept is not None]
    parts = [part for result in results for part in result.emitted]
    if not parts:
        return CombineResult(pieces=pieces)
    digests = "".join(part.ref.sha256 for part in parts if part.ref is not None)
    return CombineResult(
        pieces=pieces,
        parts=parts,
        emitted=Blob(
            row_count=sum(part.row_count for part in parts),
            size_bytes=sum(part.size_bytes for part in parts),
        ),
        emitted_sha256=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _first(times: Iterable[int | None]) -> int | None:
    return min((at for at in times if at is not None), default=None)
