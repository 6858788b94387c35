"""A topic written exactly once: records and their sequence commit in one Kafka transaction."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.structs import OffsetAndMetadata

from common.errors import FatalError, RetryableError
from common.settings import KafkaSettings
from connectors.kafka_admin import KafkaAdmin
from connectors.kafka_cluster import KafkaCluster, TransientBrokerError, raise_for_code

GROUP_COORDINATOR = 0
WRITE_TIMEOUT_S = 30.0
RECORDS_A_SECOND = 1_000
"""A large transaction gets time for its records at this rate, which even a busy machine beats."""
CLOSE_TIMEOUT_S = 5.0
MAX_REQUEST_BYTES = 64 * 1024 * 1024
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Limit of a record in a topic that the sink makes: a dead letter is larger than its record."""

SinkRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


@dataclass(frozen=True)
class Position:
    """How far a writer got: the sequence it committed last, and what it noted beside it."""

    sequence: int
    note: str = ""


IsDone = Callable[[Position | None], Awaitable[bool]]
"""Judges by the committed position whether there is nothing left to write; it may raise."""


class TransactionalRecordSink:
    """Appends to topics, each sequence of a writer once, whatever is killed or repeated.

    The sequence is committed as the offset of partition 0 of the target, in the group named like
    the writer, by the transaction that holds the records. A new attempt first takes over the
    writer's transactional id: that fences the old one and ends its transaction either way, so the
    sequence read afterwards is the truth. Readers need read_committed.
    """

    def __init__(self, settings: KafkaSettings, *, new_topic_partitions: int = 1) -> None:
        """Set up; nothing is connected yet.

        Args:
            settings: Where the cluster is.
            new_topic_partitions: Partitions of a target that does not exist.
        """
        self._cluster = KafkaCluster(settings, "sluice-sink")
        self._admin = KafkaAdmin(settings, "sluice-sink")
        self._new_topic_partitions = new_topic_partitions
        self._known: set[str] = set()

    async def close(self) -> None:
        """Close all connections."""
        await self._admin.close()
        await self._cluster.close()

    async def write_once(
        self, writer: str, topic: str, sequence: int, records: list[SinkRecord]
    ) -> None:
        """Append (key, value, headers) records unless `writer` already wrote `sequence`.

        An empty list commits the sequence alone. Records with the same key keep their order. The
        topic is created if missing. Raises what `write_unless` raises.
        """
        await self.ensure_topic(topic)

        async def is_done(found: Position | None) -> bool:
            return found is not None and found.sequence >= sequence

        await self.write_unless(writer, topic, Position(sequence), records, is_done)

    async def ensure_topic(self, topic: str, config: dict[str, str] | None = None) -> None:
        """Create a topic if it is missing; `config` is for the new one only."""
        if topic not in self._known:
            limit = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
            await self._admin.create_topic(
                topic, self._new_topic_partitions, config=limit | (config or {})
            )
            self._known.add(topic)

    async def write_unless(
        self,
        writer: str,
        topic: str,
        position: Position,
        records: list[SinkRecord],
        is_done: IsDone,
    ) -> None:
        """Append records and commit `position` in one transaction, unless `is_done` says it was.

        `is_done` is asked once every other attempt of the writer is fenced.

        Raises:
            RetryableError: When another attempt of the same writer took over meanwhile.
            ServiceUnavailableError: When the cluster does not answer; a retry finds out what was
                written.
            FatalError: When a record is too large for the target, or writing is not allowed.
        """
        sequence = position.sequence
        try:
            patience_s = WRITE_TIMEOUT_S + len(records) / RECORDS_A_SECOND
            async with (
                asyncio.timeout(patience_s),
                self._take_over(writer, patience_s) as producer,
            ):
                if not await is_done(await self.committed_position(writer, topic)):
                    await _write(producer, writer, topic, position, records)
        except (kafka_errors.ProducerFenced, kafka_errors.InvalidProducerEpoch) as error:
            raise RetryableError(
                f"writer `{writer}` of topic `{topic}`: expected to be the only one, got fenced by "
                f"a newer attempt while writing sequence {sequence}; a retry finds out what stands"
            ) from error
        except kafka_errors.UnknownTopicOrPartitionError as error:
            self._known.discard(topic)
            raise self._cluster.unavailable(f"topic `{topic}` is gone, it is made anew") from error
        except (
            kafka_errors.MessageSizeTooLargeError,
            kafka_errors.RecordListTooLargeError,
        ) as error:
            raise FatalError(
                f"topic `{topic}`: expected records within its `max.message.bytes`, got a larger "
                f"one in sequence {sequence}; raise the limit of the topic"
            ) from error
        except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
            raise self._cluster.unavailable(str(error) or type(error).__name__) from error

    async def committed_sequence(self, writer: str, topic: str) -> int | None:
        """Read the last sequence that `writer` committed to `topic`; None when there is none."""
        found = await self.committed_position(writer, topic)
        return None if found is None else found.sequence

    async def committed_position(self, writer: str, topic: str) -> Position | None:
        """Read what `writer` committed last to `topic`; None when there is nothing."""

        async def attempt() -> Position | None:
            found = await self._cluster.request(
                None, FindCoordinatorRequest(writer, GROUP_COORDINATOR)
            )
            raise_for_code(found.error_code, f"coordinator of group `{writer}`")
            await self._cluster.topics([])
            response = await self._cluster.request(
                found.coordinator_id, OffsetFetchRequest(writer, [(topic, [0])])
            )
            where = f"sequence of writer `{writer}`"
            raise_for_code(response.error_code, where)
            for _, rows in response.topics:
                for _, offset, note, code in rows:
                    raise_for_code(code, where)
                    return Position(int(offset), note or "") if offset >= 0 else None
            raise TransientBrokerError(f"{where}: the response is without the topic")

        return await self._cluster.retrying(attempt)

    @asynccontextmanager
    async def _take_over(self, writer: str, patience_s: float) -> AsyncIterator[AIOKafkaProducer]:
        """Become the writer: fence all others and end the transaction that one of them left.

        A transaction that nobody ends is aborted by the broker after twice `patience_s`.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._cluster.address,
            client_id="sluice-sink",
            transactional_id=writer,
            transaction_timeout_ms=int(2_000 * patience_s),
            max_request_size=MAX_REQUEST_BYTES,
            **self._cluster.security,
        )
        try:
            await producer.start()
            yield producer
        finally:
            await _stop(producer)


async def _write(
    producer: AIOKafkaProducer,
    writer: str,
    topic: str,
    position: Position,
    records: list[SinkRecord],
) -> None:
    """Commit records and position in one transaction; after an error, abort it if that works."""
    await producer.begin_transaction()
    try:
        # First the position: a fenced producer finds out here, before records wait in its buffers.
        offset = OffsetAndMetadata(position.sequence, position.note)
        await producer.send_offsets_to_transaction({TopicPartition(topic, 0): offset}, writer)
        acknowledged = []
        for key, value, headers in records:
            future = await producer.send(topic, value=value, key=key, headers=headers)
            future.add_done_callback(_retrieve)
            acknowledged.append(future)
        await asyncio.gather(*acknowledged)
        await producer.commit_transaction()
    except BaseException:
        # A fenced producer asserts that it is past aborting; then the next attempt or the
        # transaction's timeout aborts.
        with suppress(kafka_errors.KafkaError, AssertionError, OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await producer.abort_transaction()
        # The error reached us through another future; unseen here, it would be logged much later.
        end = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 - the only way
        end.add_done_callback(_retrieve)
        raise


def _retrieve(acknowledged: asyncio.Future[object]) -> None:
    """Look at a result, so that one which nobody awaits after another error is not logged."""
    if not acknowledged.cancelled():
        acknowledged.exception()


async def _stop(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may have failed: what it reports then was reported already."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await producer.stop()
    except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
        await _break_off(producer, error)


async def _break_off(producer: AIOKafkaProducer, error: Exception) -> None:
    """End the tasks of a producer that cannot stop, because it would retry for ever.

    It commits nothing that is not whole: a commit is asked for after every acknowledgement only.
    """
    sender = producer._sender.sender_task  # noqa: SLF001 - aiokafka offers no other way
    for _ in range(3):  # the first time it waits for its children, then they are cancelled in turn
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=0.2)
    producer._message_accumulator.fail_all(error)  # noqa: SLF001 - ends the flush that `stop` began
    await producer.client.close()
