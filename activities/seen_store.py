"""Tables of seen keys to and from the object store; a process keeps those of its last ranges."""

import asyncio
from collections import OrderedDict

from activities.blob import freeze, thaw
from common.payloads import ObjectStore
from streaming.duplicate import Duplicates, KeyTable, key_table
from streaming.plan import StreamPlan
from streaming.seen import Seen, SeenTable
from streaming.state import RangeTask

KEPT_BYTES = 256 * 1024 * 1024
"""Tables that a process keeps, in bytes; what is not there is read again."""

INLINE_BYTES = 2 * 1024
"""A table travels inline up to this size: it does so with every range until it is joined."""

_tables: OrderedDict[str, KeyTable] = OrderedDict()


async def open_duplicates(
    plan: StreamPlan, store: ObjectStore, task: RangeTask
) -> Duplicates | None:
    """Prepare the de-duplication of a range from what its task remembers; None if there is none."""
    wanted = plan.spec.deduplicate
    if wanted is None:
        return None
    known = task.seen.tables if task.seen is not None else []
    tables = [await _load(store, table) for table in known]
    return Duplicates(plan.duplicate_keys, wanted.within_ms, task.seen, tables)


async def close_duplicates(
    store: ObjectStore,
    prefix: str,
    duplicates: Duplicates | None,
    inline_bytes: int,
    most_tables: int,
) -> Seen | None:
    """Freeze what is to be remembered after a range, under a name that follows from the range.

    Up to `inline_bytes`, and never above `INLINE_BYTES`, a table travels inline; after the range
    there are at most `most_tables`.
    """
    if duplicates is None:
        return None
    remembered = await asyncio.to_thread(duplicates.remembered, most_tables=most_tables)
    if remembered.max_event_ms is None:
        return None
    tables = remembered.kept
    if remembered.added is not None:
        most = min(INLINE_BYTES, inline_bytes)
        blob = await freeze(store, f"{prefix}-seen", remembered.added.frame(), most)
        _keep(blob.sha256, remembered.added)
        tables = [*tables, SeenTable(blob=blob, newest_ms=remembered.added.newest_ms)]
    return Seen(max_event_ms=remembered.max_event_ms, tables=tables)


async def _load(store: ObjectStore, table: SeenTable) -> KeyTable:
    name = table.blob.sha256
    found = _tables.get(name)
    if found is None:
        frame = await thaw(store, table.blob)
        found = await asyncio.to_thread(key_table, frame)
    _keep(name, found)
    return found


def _keep(name: str, table: KeyTable) -> None:
    _tables[name] = table
    _tables.move_to_end(name)
    left = sum(kept.size_bytes for kept in _tables.values())
    while left > KEPT_BYTES and len(_tables) > 1:
        left -= _tables.popitem(last=False)[1].size_bytes
