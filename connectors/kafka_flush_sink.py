"""A Kafka topic as a sink of versioned windows: a transaction per chunk, fenced by its version."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import pyarrow as pa

from activities.ports import (
    FlushChunk,
    Preflight,
    Progress,
    RetiredEvents,
    RetiredRows,
    SinkTable,
)
from common.errors import FatalError, SinkRefusedError, StaleEpochError, TopicMissingError
from common.settings import KafkaSettings
from connectors.final_view import (
    check_texts,
    column_texts,
    declared_columns,
    final_view,
    row_schema,
)
from connectors.kafka import KafkaLog
from connectors.kafka_mark import Mark
from connectors.kafka_row import decode_row, encode_rows
from connectors.kafka_sink import Position, SinkRecord, TransactionalRecordSink
from connectors.kafka_tail import last_mark
from connectors.kafka_view import last_records, left_over, may_be_meant
from connectors.sink_rows import check_declaration, conform
from pipelines.stream import EPOCH_BITS

MAX_EPOCH = 2 ** (63 - EPOCH_BITS) - 1
"""An offset has 63 bits; the flush number takes the lower 40."""

MAX_NOTE_BYTES = 3_900
"""The broker keeps 4,096 bytes beside an offset (`offset.metadata.max.bytes`)."""

RETIRED_AT_ONCE = 50_000
"""Tombstones of one transaction."""

NEW_TOPIC = {"cleanup.policy": "compact"}
"""The last record of each key stays for ever, so the final view does; old revisions go."""


_PAUSES_S = (0.005,) * 20 + (0.05,) * 100


async def _record_count(log: KafkaLog, topic: str) -> int:
    """Count the offsets that a reader of committed records gets to."""
    try:
        return sum((await log.describe(topic)).end.values())
    except TopicMissingError:
        return 0


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what the broker finishes after it has answered: the ends of a transaction.

    A reader would see it a little later anyway, so the wait ends after some seconds.
    """
    for pause_s in _PAUSES_S:
        if await condition():
            return
        await asyncio.sleep(pause_s)


class KafkaFlushSink:
    """A `FlushSink` over a topic that belongs to one stream.

    A chunk's records and its version are committed in one transaction, by a transactional id and
    a private group named after the topic. A write first fences whoever held the id, then reads
    what is committed: at or above its own version and chunk it is done. Where the broker has
    forgotten the version (groups expire), the headers of the topic's last records tell it.

    Records: the key is the row's identity, the value its visible columns, both JSON; a tombstone
    has no value; headers `stream`, `version`, `chunk`. Readers need read_committed.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        """Set up; it connects at its first use."""
        self._settings = settings
        self._topics: TransactionalRecordSink | None = None
        self._reader: KafkaLog | None = None
        self._locks: dict[str, asyncio.Lock] = {}

    async def prepare(self, table: SinkTable) -> Preflight:
        """Make the topic if missing, claim it for the stream, and refresh the committed version."""
        check_declaration(table)
        sink, log = self._connected()
        wanted = Mark(0, table.stream, table.identity, column_texts(table))
        if len(wanted.position().note.encode()) > MAX_NOTE_BYTES:
            raise SinkRefusedError(
                f"topic `{table.name}`: expected columns that fit {MAX_NOTE_BYTES:,} bytes "
                f"beside an offset, got {len(table.columns)} columns; use fewer or shorter names"
            )
        await sink.ensure_topic(table.name, NEW_TOPIC)
        async with self._lock(table.name):
            # Judged before anything is fenced: another stream's topic is left alone.
            found = await self._committed(sink, table.name)
            mark = await self._mark(log, table, found) or wanted
            _require_own(table, mark)
            await self._commit_again(sink, table, found or mark.position())

            async def is_known() -> bool:
                return await self._committed(sink, table.name) is not None

            await _until(is_known)
        return Preflight(highest_epoch=mark.epoch)

    async def write(self, table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> None:
        """Commit one frozen chunk, unless it or a later one is committed."""
        checked = conform(table, chunk, rows)
        check_texts(table.name, table.columns, checked)
        if chunk.epoch > MAX_EPOCH:
            raise SinkRefusedError(
                f"topic `{table.name}`: expected an epoch of at most {MAX_EPOCH:,}, got "
                f"{chunk.epoch:,}; rename the stream"
            )
        records = await asyncio.to_thread(_records, table, chunk, checked)
        sink, log = self._connected()
        mark = _mark_of(table, chunk)
        is_done = partial(self._is_done, log, table, chunk)
        writer = _writer(table.name)
        async with self._lock(table.name):
            # Versions only grow, so what is done already needs nobody fenced.
            found = await self._committed(sink, table.name)
            if found is not None and await is_done(found):
                return
            wrote = False
            before = await _record_count(log, table.name)

            async def is_done_now(now: Position | None) -> bool:
                nonlocal wrote
                wrote = not await is_done(now)
                return not wrote

            async def is_visible() -> bool:
                return await _record_count(log, table.name) >= before + len(records)

            await sink.write_unless(writer, table.name, mark.position(), records, is_done_now)
            if wrote:
                await _until(is_visible)

    async def retire(
        self, table: SinkTable, chunk: FlushChunk, rows: RetiredRows | RetiredEvents
    ) -> None:
        """Read the topic, and commit tombstones for what is left of older epochs.

        The version is committed with the last of them. What an attempt before it has written is
        not found again.
        """
        sink, log = self._connected()
        writer, is_done = _writer(table.name), partial(self._is_done, log, table, chunk)
        async with self._lock(table.name):
            found = await self._committed(sink, table.name)
            if await is_done(found):
                return
            known = await self._mark(log, table, found)
            assert known is not None  # noqa: S101 - `is_done` refuses a topic without any
            # Whoever was before is ended first: what it left open hides all that comes after it.
            await sink.write_unless(writer, table.name, known.position(), [], is_done)
            last = await last_records(
                self._settings, log, table.name, table.stream, may_be_meant(table, rows)
            )
            keys = await asyncio.to_thread(left_over, last, table.columns, chunk, rows)
            headers = _headers(chunk)
            for first in range(0, max(1, len(keys)), RETIRED_AT_ONCE):
                part: list[SinkRecord] = [
                    (key, None, headers) for key in keys[first : first + RETIRED_AT_ONCE]
                ]
                is_last = first + RETIRED_AT_ONCE >= len(keys)
                place = _mark_of(table, chunk, chunk.chunk if is_last else chunk.chunk - 1)
                before = await _record_count(log, table.name)
                await sink.write_unless(writer, table.name, place.position(), part, is_done)

                async def is_visible(least: int = before + len(part)) -> bool:
                    return await _record_count(log, table.name) >= least

                await _until(is_visible)

    async def publish(self, table: SinkTable, progress: Progress) -> None:
        """Tell nothing: a record without a row would be one that every reader had to know of."""

    async def refresh(self, table: SinkTable, version: int) -> None:
        """Commit the version again in a transaction of the writer, unless the stream went on.

        Only such a one cannot put an older version over a newer one: it is read once all others are
        fenced, and whoever comes next fences this one. It is found in the last records if the
        broker forgot it.
        """
        sink, log = self._connected()
        async with self._lock(table.name):
            found = await self._committed(sink, table.name)
            mark = await self._mark(log, table, found)
            if mark is None or mark.version > version:
                return
            _require_own(table, mark)
            await self._commit_again(sink, table, found or mark.position())

    async def _commit_again(
        self, sink: TransactionalRecordSink, table: SinkTable, position: Position
    ) -> None:
        async def is_newer(now: Position | None) -> bool:
            return now not in (None, position)

        await sink.write_unless(_writer(table.name), table.name, position, [], is_newer)

    async def progress(self, table: SinkTable) -> Progress | None:
        """Read it from the headers of the last records."""
        _, log = self._connected()
        try:
            state = await log.describe(table.name)
        except TopicMissingError:
            return None
        last = await last_mark(self._settings, table.name, state)
        if last is None or last.complete_ms is None:
            return None
        return Progress(last.version >> EPOCH_BITS, last.complete_ms, last.version)

    async def final_rows(
        self, table: str, limit: int | None = None, time: str = "window_start"
    ) -> pa.Table:
        """Read the topic from its start and keep the last version of each row.

        UUIDs and JSON are text. All records are read, whatever `limit` is.
        """
        sink, log = self._connected()
        found = await self._committed(sink, table)
        if found is None:
            raise SinkRefusedError(
                f"topic `{table}`: expected a committed version in group `{_writer(table)}`, got "
                "none; it is made when the stream starts"
            )
        mark = Mark.of(found)
        columns = declared_columns(mark.columns)
        last = await last_records(self._settings, log, table, mark.stream)
        rows = [
            decode_row(columns, key, record.value) | {"_version": record.version}
            for key, record in last.items()
        ]
        laid = pa.Table.from_pylist(rows, row_schema(columns))
        return await asyncio.to_thread(final_view, laid, mark.identity, limit, time)

    async def close(self) -> None:
        """Close all connections; the next use opens them again."""
        if self._topics is not None:
            await self._topics.close()
        if self._reader is not None:
            await self._reader.close()

    def _connected(self) -> tuple[TransactionalRecordSink, KafkaLog]:
        if self._topics is None or self._reader is None:
            self._topics = TransactionalRecordSink(self._settings)
            self._reader = KafkaLog(self._settings, "sluice-sink")
        return self._topics, self._reader

    def _lock(self, topic: str) -> asyncio.Lock:
        """Keep attempts of this process from fencing each other."""
        return self._locks.setdefault(topic, asyncio.Lock())

    async def _committed(self, sink: TransactionalRecordSink, topic: str) -> Position | None:
        return await sink.committed_position(_writer(topic), topic)

    async def _is_done(
        self, log: KafkaLog, table: SinkTable, chunk: FlushChunk, found: Position | None
    ) -> bool:
        mark = await self._mark(log, table, found)
        if mark is None:
            raise SinkRefusedError(
                f"topic `{table.name}`: expected to be prepared for stream `{table.stream}`, got "
                "no committed version and no records; stop and start the stream, which prepares it"
            )
        _require_own(table, mark)
        if mark.epoch > chunk.epoch:
            raise StaleEpochError(
                f"topic `{table.name}` of stream `{table.stream}`: expected epoch {mark.epoch} or "
                f"later, got {chunk.epoch}; a newer run of the stream owns it, this one must end"
            )
        if mark.version == chunk.version and mark.sha256 not in ("", chunk.sha256):
            raise FatalError(
                f"flush {chunk.flush_seq} of topic `{table.name}` (epoch {chunk.epoch}): expected "
                f"the rows already written, sha256 {mark.sha256}, got {chunk.sha256}; two runs "
                "share one epoch, start the stream `--fresh`"
            )
        return (mark.version, mark.chunk) >= (chunk.version, chunk.chunk)

    async def _mark(self, log: KafkaLog, table: SinkTable, found: Position | None) -> Mark | None:
        """Tell what was written last, by what is committed or else by the topic's last records.

        None for a topic that never had any.

        Raises:
            SinkRefusedError: There are or were records, and none tells.
        """
        if found is not None:
            return Mark.of(found)
        try:
            state = await log.describe(table.name)
        except TopicMissingError:
            return None
        if not any(state.end.values()):
            return None
        last = await last_mark(self._settings, table.name, state)
        if last is None:
            raise SinkRefusedError(
                f"topic `{table.name}`: expected a committed version in group "
                f"`{_writer(table.name)}`, or last records with the header `version`, got "
                "neither: it belongs to somebody else, or the version expired together with the "
                "records; choose another topic, or delete this one and start with `--fresh`"
            )
        return Mark(last.version, last.stream, table.identity, column_texts(table), last.chunk)


def _writer(topic: str) -> str:
    """Name the transactional id and private group; the topic has one stream, so it has one."""
    return f"sluice-sink-{topic}"


def _require_own(table: SinkTable, mark: Mark) -> None:
    if mark.stream != table.stream:
        raise SinkRefusedError(
            f"topic `{table.name}`: expected the topic of stream `{table.stream}`, got that of "
            f"`{mark.stream}`: it belongs to somebody else; choose another topic"
        )
    if (mark.columns, mark.identity) != (column_texts(table), table.identity):
        raise SinkRefusedError(
            f"topic `{table.name}`: expected columns {column_texts(table)}, got {mark.columns}; "
            "the records of a topic have one shape, choose another topic for the new one"
        )


def _mark_of(table: SinkTable, chunk: FlushChunk, place: int | None = None) -> Mark:
    """Say that a chunk is written; `place` is its number, where it is not the chunk's own."""
    return Mark(
        chunk.version,
        table.stream,
        table.identity,
        column_texts(table),
        chunk.chunk if place is None else place,
        chunk.sha256,
    )


def _headers(chunk: FlushChunk) -> list[tuple[str, bytes]]:
    return [
        ("stream", chunk.stream.encode()),
        ("version", str(chunk.version).encode()),
        ("chunk", str(chunk.chunk).encode()),
    ]


def _records(table: SinkTable, chunk: FlushChunk, rows: pa.Table) -> list[SinkRecord]:
    headers = _headers(chunk)
    if chunk.progress is not None:
        headers.append(("complete_through_ms", str(chunk.progress.complete_ms).encode()))
    return [(key, value, headers) for key, value in encode_rows(table, rows)]
