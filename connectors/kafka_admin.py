"""Topics: make, widen, list and delete them; doing it twice is doing it once."""

from collections.abc import Callable
from typing import Any

from aiokafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteTopicsRequest,
)
from aiokafka.protocol.api import Request

from common.settings import KafkaSettings
from connectors.kafka_cluster import (
    UNKNOWN_TOPIC,
    KafkaCluster,
    TopicMetadata,
    TransientBrokerError,
    raise_for_code,
)

TOPIC_EXISTS = 36
REQUEST_WAIT_MS = 5_000
SETTLE_S = 10.0
"""How long a change may take until the metadata shows it."""


class KafkaAdmin:
    """Changes the topics of one cluster; returns when the metadata shows the change."""

    def __init__(self, settings: KafkaSettings, client_id: str = "sluice-admin") -> None:
        self._cluster = KafkaCluster(settings, client_id)

    async def close(self) -> None:
        """Close all connections."""
        await self._cluster.close()

    async def list_topics(self) -> dict[str, int]:
        """Give the count of partitions of every topic that is not internal."""
        found = await self._cluster.retrying(lambda: self._cluster.topics(None))
        return {name: len(found[name].leaders) for name in sorted(found)}

    async def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        *,
        replication_factor: int = -1,
        config: dict[str, str] | None = None,
    ) -> bool:
        """Make a topic; one that exists is left as it is.

        Args:
            topic: Its name.
            partitions: Count for a new topic.
            replication_factor: Copies of each partition; -1 is the broker's default.
            config: Topic settings, such as `{"retention.ms": "-1"}`.

        Returns:
            Whether the topic is new.
        """
        row: tuple[Any, ...] = (
            topic,
            partitions,
            replication_factor,
            [],
            list((config or {}).items()),
        )
        request = CreateTopicsRequest([row], REQUEST_WAIT_MS, validate_only=False)
        code = await self._change(request, f"creation of topic `{topic}`", {TOPIC_EXISTS})
        await self._settled(topic, lambda meta: meta is not None and _is_led(meta))
        return code != TOPIC_EXISTS

    async def add_partitions(self, topic: str, partitions: int) -> bool:
        """Widen a topic to `partitions` in all; one that has as many or more is left as it is.

        Returns:
            Whether partitions were added.
        """
        meta = await self._cluster.retrying(lambda: self._cluster.topic(topic, fresh=True))
        if len(meta.leaders) >= partitions:
            return False
        request = CreatePartitionsRequest(
            [(topic, (partitions, None))], REQUEST_WAIT_MS, validate_only=False
        )
        await self._change(request, f"widening of topic `{topic}` to {partitions} partitions")
        await self._settled(
            topic,
            lambda meta: meta is not None and len(meta.leaders) >= partitions and _is_led(meta),
        )
        return True

    async def delete_topic(self, topic: str) -> bool:
        """Delete a topic and its records.

        Returns:
            Whether there was one.
        """
        request = DeleteTopicsRequest([topic], REQUEST_WAIT_MS)
        code = await self._change(request, f"deletion of topic `{topic}`", {UNKNOWN_TOPIC})
        await self._settled(topic, lambda meta: meta is None)
        return code != UNKNOWN_TOPIC

    async def _change(
        self, request: Request[Any], what: str, accepted: set[int] | frozenset[int] = frozenset()
    ) -> int:
        """Send a change of one topic; give its error code when it is 0 or accepted."""

        async def attempt() -> int:
            response = await self._cluster.request(None, request)
            rows = getattr(response, "topic_errors", None) or getattr(
                response, "topic_error_codes", None
            )
            if not rows:
                raise TransientBrokerError(f"{what}: the response names no topic")
            code, *message = rows[0][1:]
            if code in accepted:
                return int(code)
            raise_for_code(code, f"{what}{f' ({message[0]})' if message and message[0] else ''}")
            return 0

        return await self._cluster.retrying(attempt)

    async def _settled(
        self, topic: str, is_settled: Callable[[TopicMetadata | None], bool]
    ) -> None:
        async def attempt() -> None:
            found = await self._cluster.topics([topic])
            if not is_settled(found.get(topic)):
                raise TransientBrokerError(f"change of topic `{topic}` is not in the metadata yet")

        await self._cluster.retrying(attempt, SETTLE_S)


def _is_led(meta: TopicMetadata) -> bool:
    return bool(meta.leaders) and all(leader.node >= 0 for leader in meta.leaders.values())
