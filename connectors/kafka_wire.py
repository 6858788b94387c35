"""Kafka protocol messages that aiokafka does not know: metadata and fetch by topic id.

Layouts follow the message definitions of Apache Kafka, `MetadataRequest.json` (version 12) and
`FetchRequest.json` (version 13). A fetch by topic id cannot read another topic that was made under
the same name.
"""

import uuid
from io import BytesIO
from typing import Any

from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

READ_COMMITTED = 1
NO_SESSION_EPOCH = -1

_TAGS = ("tags", TaggedFields)
_TEXT = CompactString("utf-8")


class Uuid(AbstractType[str]):  # type: ignore[misc] # no hints in aiokafka
    """A topic id: 16 bytes on the wire, the usual text with hyphens here."""

    @classmethod
    def encode(cls, value: str) -> bytes:
        """Write the text as 16 bytes."""
        return uuid.UUID(value).bytes

    @classmethod
    def decode(cls, data: BytesIO) -> str:
        """Read 16 bytes."""
        return str(uuid.UUID(bytes=data.read(16)))


NEITHER_CREATE_NOR_AUTHORIZE = (False, False)
NIL_UUID = str(uuid.UUID(int=0))


class RecordBytes(AbstractType[memoryview]):  # type: ignore[misc] # no hints in aiokafka
    """A record set, as a view of the response: the bytes are not copied."""

    @classmethod
    def encode(cls, value: memoryview) -> bytes:
        """Write length and bytes."""
        size: bytes = UnsignedVarInt32.encode(len(value) + 1)
        return size + bytes(value)

    @classmethod
    def decode(cls, data: BytesIO) -> memoryview:
        """Take the bytes out of the response's own buffer; null is empty."""
        size = max(UnsignedVarInt32.decode(data) - 1, 0)
        start = data.tell()
        view = memoryview(data.getvalue())[start : start + size]
        if len(view) != size:
            raise ValueError(f"record set: expected {size} bytes, got {len(view)}")
        data.seek(start + size)
        return view

    @classmethod
    def repr(cls, value: memoryview) -> str:
        """Show the size only."""
        return f"<{len(value)} bytes>"


class MetadataResponseV12(Response):  # type: ignore[misc] # no hints in aiokafka
    """Brokers, and per topic its id and the leader of each partition."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS
            ),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", _TEXT),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        _TAGS,
    )

    brokers: list[tuple[int, str, int, str | None, dict[int, bytes]]]
    controller_id: int
    topics: list[tuple[Any, ...]]


class MetadataRequestV12(RequestStruct):  # type: ignore[misc] # no hints in aiokafka
    """Ask for topics by name; a null list means all topics."""

    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class TopicMetadataRequest(Request[MetadataRequestV12]):  # type: ignore[misc] # no hints in aiokafka
    """Identity and leaders of the named topics, of all topics when None; never creates one."""

    API_KEY = 3

    def __init__(self, topics: list[str] | None) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[MetadataRequestV12]) -> MetadataRequestV12:
        """Fill the structure that was negotiated."""
        names: list[Any] | None = (
            None if self._topics is None else [(NIL_UUID, name, {}) for name in self._topics]
        )
        return request_struct_class(names, *NEITHER_CREATE_NOR_AUTHORIZE, {})


class FetchResponseV13(Response):  # type: ignore[misc] # no hints in aiokafka
    """Record sets by topic id."""

    API_KEY = 1
    API_VERSION = 13
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("session_id", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("high_watermark", Int64),
                        ("last_stable_offset", Int64),
                        ("log_start_offset", Int64),
                        (
                            "aborted_transactions",
                            CompactArray(("producer_id", Int64), ("first_offset", Int64), _TAGS),
                        ),
                        ("preferred_read_replica", Int32),
                        ("records", RecordBytes),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )

    error_code: int
    topics: list[tuple[str, list[tuple[Any, ...]], dict[int, bytes]]]


class FetchRequestV13(RequestStruct):  # type: ignore[misc] # no hints in aiokafka
    """Ask for records by topic id."""

    API_KEY = 1
    API_VERSION = 13
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = FetchResponseV13
    SCHEMA = Schema(
        ("replica_id", Int32),
        ("max_wait_ms", Int32),
        ("min_bytes", Int32),
        ("max_bytes", Int32),
        ("isolation_level", Int8),
        ("session_id", Int32),
        ("session_epoch", Int32),
        (
            "topics",
            CompactArray(
                ("topic_id", Uuid),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("current_leader_epoch", Int32),
                        ("fetch_offset", Int64),
                        ("last_fetched_epoch", Int32),
                        ("log_start_offset", Int64),
                        ("partition_max_bytes", Int32),
                        _TAGS,
                    ),
                ),
                _TAGS,
            ),
        ),
        (
            "forgotten_topics",
            CompactArray(("topic_id", Uuid), ("partitions", CompactArray(Int32)), _TAGS),
        ),
        ("rack_id", _TEXT),
        _TAGS,
    )


class CommittedFetchRequest(Request[FetchRequestV13]):  # type: ignore[misc] # no hints in aiokafka
    """Fetch committed records of one topic, without a fetch session."""

    API_KEY = 1

    def __init__(
        self,
        topic_id: str,
        positions: list[tuple[int, int, int]],
        *,
        max_wait_ms: int,
        max_bytes: int,
    ) -> None:
        """Describe the fetch.

        Args:
            topic_id: Identity of the topic.
            positions: (partition, leader epoch, offset) of each partition to read.
            max_wait_ms: How long the broker may hold the request while there is nothing to send.
            max_bytes: Bytes per partition and in all; one whole batch comes even if it is larger.
        """
        self._topic_id = topic_id
        self._positions = positions
        self._max_wait_ms = max_wait_ms
        self._max_bytes = max_bytes

    def build(self, request_struct_class: type[FetchRequestV13]) -> FetchRequestV13:
        """Fill the structure that was negotiated."""
        partitions: list[Any] = [
            (partition, epoch, offset, -1, -1, self._max_bytes, {})
            for partition, epoch, offset in self._positions
        ]
        return request_struct_class(
            -1,
            self._max_wait_ms,
            1,
            self._max_bytes,
            READ_COMMITTED,
            0,
            NO_SESSION_EPOCH,
            [(self._topic_id, partitions, {})],
            [],
            "",
            {},
        )
