"""What stands between a connection and its driver: rows here, all else there, in order."""

import asyncio
import itertools
from typing import cast

import asyncpg
from hypothesis import given
from hypothesis import strategies as st

from connectors.postgres_wire import CopyWire


class Transport:
    """The end of a connection, without one."""

    def __init__(self, driver: "Driver") -> None:
        self.protocol: asyncio.BaseProtocol = driver
        self.reading = True

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


class Driver(asyncio.Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


class Connection:
    """Has a driver and a transport."""

    def __init__(self) -> None:
        self.driver = Driver()
        self._transport = Transport(self.driver)

    @property
    def transport(self) -> Transport:
        return self._transport


def message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def wired() -> tuple[Connection, CopyWire]:
    connection = Connection()
    return connection, CopyWire(cast("asyncpg.Connection", connection))


def send(wire: CopyWire, sent: bytes) -> None:
    while sent:
        room = wire.get_buffer(-1)
        part = sent[: len(room)]
        room[: len(part)] = part
        wire.buffer_updated(len(part))
        sent = sent[len(part) :]


async def left(wire: CopyWire) -> bytes:
    wire.end()
    content = b""
    while (piece := await wire.piece()) is not None:
        content += piece
    return content


_MESSAGES = st.lists(
    st.tuples(st.sampled_from([b"d", b"d", b"d", b"N", b"C"]), st.binary(max_size=40)), max_size=12
)


@given(messages=_MESSAGES, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_rows_come_together_and_all_else_goes_to_the_driver_however_bytes_are_cut(
    messages: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    sent = b"".join(message(*one) for one in messages)
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]

    async def check() -> None:
        connection, wire = wired()
        for start, stop in itertools.pairwise(places):
            send(wire, sent[start:stop])
        assert await left(wire) == b"".join(rest for kind, rest in messages if kind == b"d")
        wire.release()
        others = [message(*one) for one in messages if one[0] != b"d"]
        assert connection.driver.got == b"".join(others)
        assert connection.transport.protocol is connection.driver

    asyncio.run(check())


async def test_a_message_larger_than_the_room_for_it_arrives_whole() -> None:
    connection, wire = wired()
    error, row = message(b"E", b"e" * 3_000_000), bytes(range(256)) * 5_000
    send(wire, message(b"d", row) + error + message(b"d", b"z"))
    assert await left(wire) == row + b"z"
    assert connection.driver.got == error


async def test_the_server_waits_while_rows_are_not_taken() -> None:
    connection, wire = wired()
    reads = 0
    while connection.transport.reading and reads < 1_000:
        send(wire, message(b"d", bytes(100_000)))
        reads += 1
        await asyncio.wait_for(_paused(wire), 10)
    assert reads == 42
    while not connection.transport.reading:
        assert await wire.piece()
    send(wire, message(b"d", b"more")[:3])
    wire.release()
    assert connection.driver.got == message(b"d", b"more")[:3]


async def _paused(wire: CopyWire) -> None:
    """Wait for the end of the rest after a reading."""
    while wire.rests:  # noqa: ASYNC110 - the condition is a timer of the wire's own
        await asyncio.sleep(0.001)
