"""Connections to the brokers of one cluster: leases, topic metadata, and one way to retry.

A broker answers the requests of a connection in order, so a long poll would hold back a read behind
it: each request in flight has a connection of its own, taken from a pool and given back.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.protocol.api import Request

from common.errors import FatalError, ServiceUnavailableError, SettingsError, TopicMissingError
from common.settings import KafkaSettings
from connectors.kafka_wire import TopicMetadataRequest

CONNECT_TIMEOUT_S = 3.0
REQUEST_TIMEOUT_S = 5.0
MAX_REQUEST_MS = 60_000
MAX_IDLE_MS = 300_000
PATIENCE_S = 5.0
"""How long one call goes on trying before it says that the service is not there."""

UNKNOWN_TOPIC = 3
NOT_AUTHORIZED = frozenset({29, 30, 31, 53})
TRANSIENT_CODES = frozenset(
    {-1, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 72, 74, 75, 78, 88, 89}
)
"""Leader moved, epoch fenced, broker starting or short of replicas: another try helps."""

REFUSED_CREDENTIALS = (
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.AuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
)
Answer = TypeVar("Answer")


class TransientBrokerError(Exception):
    """One try failed as fresh metadata or a moment may cure; never leaves the connector."""


@dataclass(frozen=True)
class Leader:
    """Who serves a partition: node -1 is nobody."""

    node: int
    epoch: int


@dataclass(frozen=True)
class TopicMetadata:
    """Identity of a topic and the leader of each partition."""

    name: str
    topic_id: str
    leaders: dict[int, Leader]

    def leader(self, partition: int) -> Leader:
        """Find who serves a partition; `TransientBrokerError` when nobody does now."""
        leader = self.leaders.get(partition)
        if leader is None or leader.node < 0:
            raise TransientBrokerError(f"no leader for {self.name}-{partition}")
        return leader


def code_name(code: int) -> str:
    """Name an error code of the protocol for a message."""
    known = {74: "FENCED_LEADER_EPOCH", 75: "UNKNOWN_LEADER_EPOCH", 78: "OFFSET_NOT_AVAILABLE"}
    known |= {100: "UNKNOWN_TOPIC_ID", 103: "INCONSISTENT_TOPIC_ID"}
    error = kafka_errors.for_code(code)
    name = known.get(code) or getattr(error, "message", error.__name__)
    return f"{name} ({code})"


def raise_for_code(code: int, what: str) -> None:
    """Raise an error code as an error: transient where a retry helps, else final; 0 passes."""
    if code == 0:
        return
    if code in TRANSIENT_CODES:
        raise TransientBrokerError(f"{what}: {code_name(code)}")
    if code in NOT_AUTHORIZED:
        raise FatalError(
            f"{what}: expected permission, got {code_name(code)}; "
            "grant it to the user in `kafka.username`"
        )
    raise FatalError(f"{what}: expected success, got {code_name(code)}; see the broker's log")


def security_options(settings: KafkaSettings) -> dict[str, Any]:
    """Translate the security settings to the keywords that aiokafka's classes share."""
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl.create_default_context()
    if settings.security_protocol.startswith("SASL"):
        if settings.username is None or settings.password is None:
            raise SettingsError(
                "setting `kafka.username` and `kafka.password`: expected both for "
                f"{settings.security_protocol}, got none; set them or use PLAINTEXT"
            )
        options["sasl_mechanism"] = settings.sasl_mechanism or "PLAIN"
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value()
    return options


class KafkaCluster:
    """A pool of connections to one cluster, for any number of coroutines of one event loop."""

    def __init__(self, settings: KafkaSettings, client_id: str = "sluice") -> None:
        if not settings.bootstrap_servers:
            raise SettingsError(
                "setting `kafka.bootstrap_servers`: expected host:port, got none; "
                "run `sluice up` or set it"
            )
        self.address = settings.bootstrap_servers
        self.security = security_options(settings)
        self._client_id = client_id
        self._bootstrap = [(host, port) for host, port, _ in collect_hosts(self.address)]
        self._nodes: dict[int, tuple[str, int]] = {}
        self._topics: dict[str, TopicMetadata] = {}
        self._idle: dict[tuple[str, int], list[AIOKafkaConnection]] = {}
        self.controller = -1

    async def close(self) -> None:
        """Close all idle connections; those in use close when they are given back."""
        connections = [conn for idle in self._idle.values() for conn in idle]
        self._idle.clear()
        for conn in connections:
            await _close(conn)

    async def retrying(
        self, attempt: Callable[[], Awaitable[Answer]], patience_s: float = PATIENCE_S
    ) -> Answer:
        """Repeat an attempt, with fresh metadata, while it fails in ways that may pass.

        Raises:
            ServiceUnavailableError: When it still fails `patience_s` after the first failure.
        """
        deadline = None
        pause_s = 0.05
        while True:
            try:
                return await attempt()
            except TransientBrokerError as error:
                self._topics.clear()
                deadline = deadline or time.monotonic() + patience_s
                if time.monotonic() + pause_s >= deadline:
                    raise self.unavailable(str(error)) from error
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 1.0)

    def unavailable(self, cause: str) -> ServiceUnavailableError:
        """Say that the cluster does not answer, and where it was expected."""
        return ServiceUnavailableError("Kafka", self.address, cause)

    async def topic(self, name: str, *, fresh: bool = False) -> TopicMetadata:
        """Give identity and leaders of a topic, from memory unless `fresh`; one attempt.

        Raises:
            TransientBrokerError: When no broker answers.
            TopicMissingError: When the topic is still unknown at a second look.
        """
        if not fresh and name in self._topics:
            return self._topics[name]
        for pause_s in (0.2, 0.0):
            found = await self.topics([name])
            if name in found:
                return found[name]
            await asyncio.sleep(pause_s)
        raise TopicMissingError(name)

    async def topics(self, names: list[str] | None) -> dict[str, TopicMetadata]:
        """Ask for the metadata of the named topics, or of all; unknown ones are left out."""
        response = await self.request(None, TopicMetadataRequest(names))
        self._nodes = {node: (host, port) for node, host, port, _, _ in response.brokers}
        self.controller = response.controller_id
        found = {}
        for code, name, topic_id, is_internal, partitions, _, _ in response.topics:
            if code == UNKNOWN_TOPIC or (is_internal and names is None):
                self._topics.pop(name, None)
                continue
            raise_for_code(code, f"metadata of topic `{name}`")
            leaders = {row[1]: Leader(node=row[2], epoch=row[3]) for row in partitions}
            found[name] = TopicMetadata(name, topic_id, leaders)
        self._topics.update(found)
        return found

    async def request(
        self, node: int | None, request: Request[Any], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Any:  # noqa: ANN401 - each request has a response of its own
        """Send one request to a broker, to any when None, over a connection of its own.

        Raises:
            TransientBrokerError: When the broker is not known, does not answer, or hangs up.
            FatalError: When it refuses the credentials or is too old for the request.
        """
        async with self._lease(node) as conn:
            try:
                async with asyncio.timeout(timeout_s):
                    return await conn.send(request)
            except NotImplementedError as error:
                raise FatalError(
                    f"broker {conn.host}:{conn.port}: expected Apache Kafka 3.1 or later, "
                    f"got one that lacks {type(request).__name__}; upgrade the broker"
                ) from error
            except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
                raise TransientBrokerError(_cause(error)) from error

    @asynccontextmanager
    async def _lease(self, node: int | None) -> AsyncIterator[AIOKafkaConnection]:
        """Lend a connection; one whose request failed or was abandoned is closed, not reused."""
        conn = await self._take(node)
        try:
            yield conn
        except BaseException:
            conn.close()
            raise
        if conn.connected():
            self._idle.setdefault((conn.host, conn.port), []).append(conn)

    async def _take(self, node: int | None) -> AIOKafkaConnection:
        if node is None:
            addresses = list(dict.fromkeys([*self._nodes.values(), *self._bootstrap]))
        elif node in self._nodes:
            addresses = [self._nodes[node]]
        else:
            raise TransientBrokerError(f"broker {node} is not in the metadata")
        problems = []
        for address in addresses:
            idle = self._idle.get(address, [])
            while idle:
                conn = idle.pop()
                if conn.connected():
                    return conn
                conn.close()
            try:
                return await self._connect(*address)
            except TransientBrokerError as error:
                problems.append(str(error))
        raise TransientBrokerError("; ".join(problems))

    async def _connect(self, host: str, port: int) -> AIOKafkaConnection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await create_conn(
                    host,
                    port,
                    client_id=self._client_id,
                    request_timeout_ms=MAX_REQUEST_MS,
                    max_idle_ms=MAX_IDLE_MS,
                    **self.security,
                )
        except REFUSED_CREDENTIALS as error:
            raise FatalError(
                f"Kafka at {host}:{port}: expected to log in, got {_cause(error)}; "
                "correct `kafka.username`, `kafka.password` and `kafka.sasl_mechanism`"
            ) from error
        except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
            raise TransientBrokerError(f"{host}:{port}: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _close(conn: AIOKafkaConnection) -> None:
    closed = conn.close()
    if closed is not None:
        await closed
