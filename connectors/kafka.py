"""Kafka as a `RecordLog`: pinned ranges, read below aiokafka's consumer class."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from aiokafka.protocol.offset import OffsetRequest

from activities.ports import TopicState
from common.errors import OffsetLostError
from common.settings import KafkaSettings
from connectors.kafka_block import Fetched, RangeCursor
from connectors.kafka_cluster import (
    REQUEST_TIMEOUT_S,
    KafkaCluster,
    TopicMetadata,
    TransientBrokerError,
    raise_for_code,
)
from connectors.kafka_wire import READ_COMMITTED, CommittedFetchRequest, FetchResponseV13
from streaming.offset_range import OffsetRange
from streaming.record_block import RecordBlock

EARLIEST = -2
LATEST = -1
OFFSET_OUT_OF_RANGE = 1
TOPIC_ID_CODES = frozenset({3, 100, 103})
"""Unknown topic or partition, unknown topic id, inconsistent topic id."""

POLL_SLICE_MS = 5_000
"""A long poll is renewed this often, to notice new partitions."""

FETCH_WAIT_MS = 500
FETCH_TIMEOUT_S = 30.0
NO_DATA_PATIENCE_S = 30.0
"""How long a pinned range may stay without its next batch."""

FIRST_GUESS_BYTES = 200.0
MAX_FETCH_BYTES = 4 * 1024 * 1024
"""Larger responses cost more a byte: they outgrow the caches on their way through asyncio."""


@dataclass
class _Density:
    """Bytes that one offset of a partition takes in the log, as last seen."""

    offset_bytes: float = FIRST_GUESS_BYTES
    batch_bytes: int = 64 * 1024

    def request_bytes(self, offsets: int, block_bytes: int) -> int:
        """Ask for what the offsets take, plus the batch that may straddle the end."""
        wanted = int(offsets * self.offset_bytes * 1.02) + self.batch_bytes
        return max(1, min(wanted, block_bytes, MAX_FETCH_BYTES))

    def learn(self, offsets: int, size_bytes: int, batches: int) -> None:
        """Remember what the last response showed."""
        if offsets > 0 and batches > 0:
            self.offset_bytes = size_bytes / offsets
            self.batch_bytes = size_bytes // batches


class KafkaLog:
    """A cluster's topics, read committed; safe for many coroutines of one event loop.

    Connects when first used and again after a failure. Every call tries some seconds, with fresh
    metadata, before it raises `ServiceUnavailableError`; the object stays usable.
    """

    def __init__(self, settings: KafkaSettings, client_id: str = "sluice") -> None:
        self._cluster = KafkaCluster(settings, client_id)
        self._density: dict[tuple[str, int], _Density] = {}

    async def close(self) -> None:
        """Close all connections."""
        await self._cluster.close()

    async def describe(self, topic: str) -> TopicState:
        """Read identity, start and last stable offset of every partition."""
        return await self._cluster.retrying(lambda: self._describe(topic))

    async def offsets_at(self, topic: str, time_ms: int) -> dict[int, int]:
        """Find, per partition, the first offset with a time of `time_ms` or later, else the end."""

        async def attempt() -> dict[int, int]:
            meta = await self._cluster.topic(topic, fresh=True)
            found, ends = await asyncio.gather(
                self._offsets(meta, max(time_ms, 0)), self._offsets(meta, LATEST)
            )
            return {p: found[p] if 0 <= found[p] < ends[p] else ends[p] for p in sorted(ends)}

        return await self._cluster.retrying(attempt)

    async def wait_for_data(
        self, topic: str, cursors: dict[int, int], timeout_ms: int
    ) -> TopicState:
        """Return as soon as the end of any partition lies beyond its cursor, or after `timeout_ms`.

        Raises:
            OffsetLostError: When a cursor lies outside the log: records were deleted, or the topic
                was made anew.
        """
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            state = await self.describe(topic)
            _require_inside(topic, state, cursors)
            left_ms = int((deadline - time.monotonic()) * 1000)
            if left_ms <= 0 or _has_news(state, cursors):
                return state
            wait_ms = min(left_ms, POLL_SLICE_MS)
            await self._cluster.retrying(partial(self._poll, topic, cursors, wait_ms))

    async def read(
        self, span: OffsetRange, topic_id: str, block_bytes: int
    ) -> AsyncIterator[RecordBlock]:
        """Yield exactly the committed records of the range, in order, in blocks of `block_bytes`.

        The next response is fetched while the blocks of the last one are used.
        """
        cursor = RangeCursor(span)
        if cursor.complete:
            return
        density = self._density.setdefault((span.topic, span.partition), _Density())
        patience = time.monotonic() + NO_DATA_PATIENCE_S
        fetch = self._start_fetch(cursor, topic_id, density, block_bytes)
        try:
            while not cursor.complete:
                fetched = await fetch
                before = cursor.position
                section = cursor.take(fetched)
                if cursor.position > before:
                    density.learn(cursor.position - before, section.size_bytes, section.batch_count)
                    patience = time.monotonic() + NO_DATA_PATIENCE_S
                elif time.monotonic() > patience:
                    raise self._cluster.unavailable(
                        f"no batch at offset {before} of {span.topic}-{span.partition}, "
                        f"the last stable offset is {fetched.last_stable_offset}"
                    )
                if not cursor.complete:
                    fetch = self._start_fetch(cursor, topic_id, density, block_bytes)
                for block in section.blocks(block_bytes):
                    yield block
        finally:
            fetch.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await fetch

    def _start_fetch(
        self, cursor: RangeCursor, topic_id: str, density: _Density, block_bytes: int
    ) -> asyncio.Task[Fetched]:
        span, position = cursor.span, cursor.position
        max_bytes = density.request_bytes(span.stop - position, block_bytes)
        return asyncio.create_task(
            self._cluster.retrying(lambda: self._fetch(span, topic_id, position, max_bytes))
        )

    async def _fetch(
        self, span: OffsetRange, topic_id: str, position: int, max_bytes: int
    ) -> Fetched:
        meta = await self._cluster.topic(span.topic)
        if meta.topic_id != topic_id:
            meta = await self._cluster.topic(span.topic, fresh=True)
            _require_same(meta, topic_id)
        leader = meta.leader(span.partition)
        response = await self._cluster.request(
            leader.node,
            CommittedFetchRequest(
                topic_id,
                [(span.partition, leader.epoch, position)],
                max_wait_ms=FETCH_WAIT_MS,
                max_bytes=max_bytes,
            ),
            FETCH_TIMEOUT_S,
        )
        where = f"fetch of {span.topic}-{span.partition} at offset {position}"
        raise_for_code(response.error_code, where)
        for _, partitions, _ in response.topics:
            for row in partitions:
                await self._check_fetch(
                    row[1], where, span.topic, topic_id, span.partition, position
                )
                return Fetched(
                    records=row[7],
                    aborted=[(producer, first) for producer, first, _ in row[5] or []],
                    last_stable_offset=row[3],
                    log_start_offset=row[4],
                )
        raise TransientBrokerError(f"{where}: the response is without the partition")

    async def _check_fetch(
        self, code: int, where: str, topic: str, topic_id: str, partition: int, position: int
    ) -> None:
        if code in TOPIC_ID_CODES:
            _require_same(await self._cluster.topic(topic, fresh=True), topic_id)
            raise TransientBrokerError(f"{where}: the broker does not know the topic id yet")
        if code == OFFSET_OUT_OF_RANGE:
            state = await self._describe(topic)
            _require_inside(topic, state, {partition: position})
            raise TransientBrokerError(f"{where}: out of range on this broker only")
        raise_for_code(code, where)

    async def _describe(self, topic: str) -> TopicState:
        meta = await self._cluster.topic(topic, fresh=True)
        start, end = await asyncio.gather(
            self._offsets(meta, EARLIEST), self._offsets(meta, LATEST)
        )
        return TopicState(topic_id=meta.topic_id, start=start, end=end)

    async def _offsets(self, meta: TopicMetadata, time_ms: int) -> dict[int, int]:
        """Ask every leader for offsets by time; LATEST is the last stable offset."""
        by_node: dict[int, list[tuple[int, int]]] = {}
        for partition in meta.leaders:
            by_node.setdefault(meta.leader(partition).node, []).append((partition, time_ms))
        responses = await asyncio.gather(
            *(
                self._cluster.request(
                    node, OffsetRequest(-1, READ_COMMITTED, [(meta.name, partitions)])
                )
                for node, partitions in by_node.items()
            )
        )
        found: dict[int, int] = {}
        for response in responses:
            for _, rows in response.topics:
                for partition, code, _, offset in rows:
                    raise_for_code(code, f"offsets of {meta.name}-{partition}")
                    found[partition] = offset
        return dict(sorted(found.items()))

    async def _poll(self, topic: str, cursors: dict[int, int], wait_ms: int) -> None:
        """Wait on every leader at once until one has data at a cursor, or `wait_ms` have passed."""
        meta = await self._cluster.topic(topic)
        by_node: dict[int, list[tuple[int, int, int]]] = {}
        for partition, cursor in cursors.items():
            leader = meta.leader(partition)
            by_node.setdefault(leader.node, []).append((partition, leader.epoch, cursor))
        polls = [
            asyncio.create_task(
                self._cluster.request(
                    node,
                    CommittedFetchRequest(
                        meta.topic_id, positions, max_wait_ms=wait_ms, max_bytes=1
                    ),
                    timeout_s=wait_ms / 1000 + REQUEST_TIMEOUT_S,
                )
            )
            for node, positions in by_node.items()
        ]
        try:
            done, _ = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
            for poll in done:
                _raise_for_poll(topic, poll.result())
        finally:
            for poll in polls:
                poll.cancel()
            await asyncio.gather(*polls, return_exceptions=True)


def _raise_for_poll(topic: str, response: FetchResponseV13) -> None:
    """Raise what a retry cures; a cursor outside the log is for `describe` to tell."""
    raise_for_code(response.error_code, f"poll of topic `{topic}`")
    for _, partitions, _ in response.topics:
        for row in partitions:
            if row[1] in TOPIC_ID_CODES:
                raise TransientBrokerError(f"poll of topic `{topic}`: its id is not known")
            if row[1] != OFFSET_OUT_OF_RANGE:
                raise_for_code(row[1], f"poll of {topic}-{row[0]}")


def _has_news(state: TopicState, cursors: dict[int, int]) -> bool:
    return any(end > cursors.get(partition, -1) for partition, end in state.end.items())


def _require_same(meta: TopicMetadata, topic_id: str) -> None:
    if meta.topic_id != topic_id:
        raise OffsetLostError(
            f"topic `{meta.name}`: expected id {topic_id}, got {meta.topic_id}: it was deleted and "
            "made anew, its offsets mean other records; go on with `--accept-loss` or start with "
            "`--fresh`"
        )


def _require_inside(topic: str, state: TopicState, cursors: dict[int, int]) -> None:
    for partition, cursor in cursors.items():
        if partition not in state.end:
            got = f"{len(state.end)} partitions"
        elif state.start[partition] <= cursor <= state.end[partition]:
            continue
        else:
            got = f"{state.start[partition]} to {state.end[partition]}"
        raise OffsetLostError(
            f"{topic}-{partition} at offset {cursor}: expected it in the log, got {got}: "
            "records were deleted before they were read, or the topic was made anew; "
            "lengthen the topic's retention, go on with `--accept-loss` or start with `--fresh`"
        )
