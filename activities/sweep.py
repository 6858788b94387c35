"""Working objects of streams that nothing can reach any more, found and deleted.

A run releases what it knows to be done with. What it does not know of stays: objects of attempts
and merges that were abandoned, and of runs that were terminated. An object goes when

1. the run that wrote it cannot write any more: it is closed, or of an epoch before the latest;
2. it was written longer ago than the namespace keeps closed runs;
3. no history that the server still has names it, be it of an open run or of a closed one;
4. no saved state names it that a run may still go on from;
5. the server knows the stream, or its state waits for the next start. Else it may run in another
   namespace over the same store.

A run gets to know an object only by writing it, from the run that it continues, whose history
names it, or from a saved state. So what fulfils all of these is not named by any later run.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from activities.stream_record import StreamRecord
from common.names import stream_prefix, stream_workflow_id
from common.payloads import ObjectStore, StoredObject

_WORK = re.compile(r"^streams/(?P<stream>[^/]+)/e(?P<epoch>\d{6,})/(?:run-(?P<run>[^/]+)/)?")
BATCH = 500


class RunBook(Protocol):
    """What the server knows of the runs of a workflow."""

    async def retention_ms(self) -> int:
        """Tell how long the namespace keeps closed runs."""
        ...

    async def open_runs(self, workflow_id: str) -> set[str]:
        """Give the ids of the runs that are not closed."""
        ...

    def histories(self, workflow_id: str) -> AsyncIterator[bytes]:
        """Yield all events of all runs that the server still has, each as encoded bytes."""
        ...


@dataclass(frozen=True)
class Swept:
    """What a sweep of one pipeline found.

    Attributes:
        kind: `stream` or `etl`.
        kept: Objects that stay.
        objects: Those that went, or would go.
        trouble: What could not be removed, and why.
    """

    pipeline: str
    kept: int
    objects: list[StoredObject]
    kind: str = "stream"
    trouble: list[str] = field(default_factory=list)


async def streams(store: ObjectStore) -> list[str]:
    """Name the streams that have working objects."""
    found = (_WORK.match(key) for key in await store.keys("streams"))
    return sorted({match["stream"] for match in found if match})


async def sweep(
    store: ObjectStore, runs: RunBook, stream: str, now_ms: int, *, dry_run: bool
) -> Swept:
    """Delete the working objects of a stream that nothing can reach any more.

    Args:
        store: Where they are.
        runs: The server; when it does not answer, nothing is deleted.
        stream: Name of the stream.
        now_ms: The clock.
        dry_run: Whether to find them only.
    """
    record = StreamRecord(store, stream)
    found = [one for one in await store.listing(stream_prefix(stream)) if _WORK.match(one.key)]
    written_before = now_ms - await runs.retention_ms()
    # After the listing: whoever writes an object that is listed was known to the server by then.
    open_runs = await runs.open_runs(stream_workflow_id(stream))
    latest = await record.highest_epoch()
    left = {
        one.key: one
        for one in found
        if one.modified_ms < written_before and _is_closed(one.key, open_runs, latest)
    }
    named = re.compile(re.escape(stream_prefix(stream)).encode() + rb'/e\d{6,}/[^"\\]+')
    # Before the histories: a run that goes on from a state meanwhile shows there.
    for content in await record.resumable():
        _forget(left, named.findall(content))
    known = await record.is_waiting()
    if left:
        async for event in runs.histories(stream_workflow_id(stream)):
            known = True
            _forget(left, named.findall(event))
    if not known:
        left = {}
    keys = list(left)
    if not dry_run:
        for start in range(0, len(keys), BATCH):
            await store.delete(keys[start : start + BATCH])
    return Swept(stream, len(found) - len(left), list(left.values()))


def _is_closed(key: str, open_runs: set[str], latest: int) -> bool:
    """Tell whether the run that wrote an object can write no more."""
    match = _WORK.match(key)
    assert match is not None  # noqa: S101 - only working objects are looked at
    if match["run"] is not None:
        return match["run"] not in open_runs
    return int(match["epoch"]) < latest


def _forget(left: dict[str, StoredObject], names: list[bytes]) -> None:
    for name in names:
        left.pop(name.decode(), None)
