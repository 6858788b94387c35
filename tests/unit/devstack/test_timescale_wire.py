from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.timescale_wire import Framer, Message, WireError, cut, read_row, read_startup, startup

messages = st.builds(
    Message, st.sampled_from([bytes([code]) for code in b"QPBEDSHCXZT"]), st.binary(max_size=40)
)


def cut_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(messages, max_size=12), st.lists(st.integers(0, 10_000), max_size=20))
def test_framer_gives_the_same_messages_however_the_stream_is_cut(
    sent: list[Message], cuts: list[int]
) -> None:
    framer = Framer()
    got: list[Message] = []
    for piece in cut_at(b"".join(message.encode() for message in sent), cuts):
        framer.feed(piece)
        got.extend(framer.messages())
    assert got == sent


@given(messages)
def test_framer_keeps_an_incomplete_message(message: Message) -> None:
    framer = Framer()
    framer.feed(message.encode()[:-1])
    assert list(framer.messages()) == []
    framer.feed(message.encode()[-1:])
    assert list(framer.messages()) == [message]


def test_framer_refuses_an_impossible_length() -> None:
    framer = Framer()
    framer.feed(b"Q\x00\x00\x00\x03")
    with pytest.raises(WireError, match="message length must be 4 to"):
        list(framer.messages())


@given(
    st.dictionaries(
        st.text("abc_", min_size=1, max_size=5), st.text("xyz'", min_size=1, max_size=5)
    )
)
def test_startup_packet_comes_back_as_it_was_built(parameters: dict[str, str]) -> None:
    framer = Framer(startup=True)
    framer.feed(startup(parameters))
    (packet,) = framer.messages()
    assert read_startup(packet.body) == (196608, parameters)


def test_startup_packet_keeps_empty_values() -> None:
    packet = startup({"user": "u", "application_name": ""})
    assert read_startup(packet[4:]) == (196608, {"user": "u", "application_name": ""})


def test_cut_refuses_too_few_strings() -> None:
    with pytest.raises(WireError, match="must hold 2 zero-terminated strings, got 1"):
        cut(b"one\0rest", 2)


@given(st.lists(st.none() | st.text(max_size=5), max_size=6))
def test_row_comes_back_with_its_nulls(values: list[str | None]) -> None:
    body = len(values).to_bytes(2, "big")
    for value in values:
        coded = b"" if value is None else value.encode()
        size = -1 if value is None else len(coded)
        body += size.to_bytes(4, "big", signed=True) + coded
    assert read_row(body) == values
