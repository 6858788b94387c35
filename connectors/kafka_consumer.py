"""The ordinary consumer of aiokafka: reads a topic with nothing in common with the engine."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from common.errors import ServiceUnavailableError, SettingsError
from common.settings import KafkaSettings
from connectors.kafka_cluster import security_options

_MOST_RECORDS = 20_000


async def consume(
    settings: KafkaSettings, topic: str, ends: dict[int, int]
) -> AsyncIterator[list[ConsumerRecord]]:
    """Read every partition from its first record up to an offset.

    Args:
        settings: Where Kafka is.
        topic: Name of the topic.
        ends: First offset not to read, per partition.

    Raises:
        SettingsError: Kafka has no address.
        ServiceUnavailableError: It does not answer.
    """
    servers = settings.bootstrap_servers
    if servers is None:
        raise SettingsError(
            "`kafka.bootstrap_servers`: expected an address, got none; run `sluice up`"
        )
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, isolation_level="read_committed", enable_auto_commit=False,
        max_partition_fetch_bytes=4 * 1024 * 1024, **security_options(settings),
    )  # fmt: skip
    try:
        await consumer.start()
    except OSError as error:
        raise ServiceUnavailableError("Kafka", servers, str(error)) from error
    try:
        left = {TopicPartition(topic, n): end for n, end in ends.items()}
        consumer.assign(list(left))
        await consumer.seek_to_beginning()
        while left:
            found = await consumer.getmany(*left, timeout_ms=500, max_records=_MOST_RECORDS)
            for partition, records in found.items():
                yield [r for r in records if r.offset < left[partition]]
            for partition in list(left):
                if await consumer.position(partition) >= left[partition]:
                    del left[partition]
    finally:
        await consumer.stop()
