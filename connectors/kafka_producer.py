"""A producer for columns: record blocks, encoded by a kernel, acknowledged by all replicas."""

import asyncio
from functools import partial

from aiokafka.protocol.produce import ProduceRequest

from common.errors import FatalError, UsageError
from common.settings import KafkaSettings
from connectors.kafka_batch import Bytes
from connectors.kafka_cluster import (
    KafkaCluster,
    TransientBrokerError,
    code_name,
    raise_for_code,
)
from connectors.kafka_compression import CODECS, LZ4, NONE
from connectors.kafka_encode import encode_batch
from streaming.record_block import RecordBlock

ALL_REPLICAS = -1
BROKER_WAIT_MS = 20_000
REQUEST_TIMEOUT_S = 30.0
PATIENCE_S = 30.0
TOO_LARGE = frozenset({10, 18})
BAD_TIMESTAMP = 32


class BulkProducer:
    """Appends record blocks to partitions that the caller chooses.

    One batch per partition is in flight, the next is encoded meanwhile, and partitions go side by
    side; so the records of a partition keep their order, over retries too. It is not idempotent:
    when an acknowledgement is lost, its batch is sent again and stands in the log twice. Use
    `TransactionalRecordSink` where that matters.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        compression: str = "none",
        batch_bytes: int = 960 * 1024,
        client_id: str = "sluice-producer",
    ) -> None:
        """Set up; nothing is connected yet.

        Args:
            settings: Where the cluster is.
            compression: `none` or `lz4`.
            batch_bytes: Limit of one batch before compression; the broker's `message.max.bytes`
                must allow it.
            client_id: Name in the broker's logs and quotas.
        """
        self._codec = CODECS.get(compression, -1)
        if self._codec not in {NONE, LZ4}:
            raise UsageError(
                f"compression of the bulk producer: expected none or lz4, got {compression}"
            )
        self._cluster = KafkaCluster(settings, client_id)
        self._batch_bytes = batch_bytes
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}

    async def start(self) -> None:
        """Check that the cluster answers."""
        await self._cluster.retrying(lambda: self._cluster.topics([]))

    async def stop(self) -> None:
        """Wait for appends under way and close all connections."""
        for lock in list(self._locks.values()):
            async with lock:
                pass
        await self._cluster.close()

    async def append(self, topic: str, partition: int, block: RecordBlock) -> int:
        """Write all records of a block, in order, and wait until all replicas have them.

        Concurrent appends to one partition go one after the other. The names, offsets and partition
        of the block itself do not count.

        Returns:
            Offset of the first record, -1 for an empty block.

        Raises:
            ServiceUnavailableError: When the cluster does not take it; records before may have been
                written.
            FatalError: When the broker refuses a record, such as one that is too large.
        """
        first_offset, row = -1, 0
        async with self._locks.setdefault((topic, partition), asyncio.Lock()):
            encoded = self._encode(block, row) if len(block) else None
            while encoded is not None:
                batch, count = await encoded
                row += count
                encoded = self._encode(block, row) if row < len(block) else None
                try:
                    offset = await self._cluster.retrying(
                        partial(self._send, topic, partition, batch), PATIENCE_S
                    )
                except BaseException:
                    if encoded is not None:
                        encoded.cancel()
                    raise
                first_offset = offset if first_offset < 0 else first_offset
        return first_offset

    def _encode(self, block: RecordBlock, row: int) -> asyncio.Future[tuple[Bytes, int]]:
        return asyncio.ensure_future(
            asyncio.to_thread(encode_batch, block, row, self._batch_bytes, self._codec)
        )

    async def _send(self, topic: str, partition: int, batch: Bytes) -> int:
        meta = await self._cluster.topic(topic)
        leader = meta.leader(partition)
        response = await self._cluster.request(
            leader.node,
            ProduceRequest(
                None, ALL_REPLICAS, BROKER_WAIT_MS, [(topic, [(partition, batch.data)])]
            ),
            REQUEST_TIMEOUT_S,
        )
        where = f"append to {topic}-{partition}"
        for _, rows in response.topics:
            for _, code, offset, *_ in rows:
                if code in TOO_LARGE:
                    raise FatalError(
                        f"{where}: expected a batch within the topic's `max.message.bytes`, "
                        f"got {len(batch)} bytes; raise the limit or write smaller records"
                    )
                if code == BAD_TIMESTAMP:
                    raise FatalError(
                        f"{where}: expected record times that the topic allows, got "
                        f"{code_name(code)}; see its `message.timestamp.after.max.ms`"
                    )
                raise_for_code(code, where)
                return int(offset)
        raise TransientBrokerError(f"{where}: the response is without the partition")
