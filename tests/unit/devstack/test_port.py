import socket
from collections.abc import Iterator

import pytest

from devstack.port import HOST, PortTakenError, choose, is_free, settle

pytestmark = pytest.mark.unit


@pytest.fixture
def strangers_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_port_with_a_listener_is_not_free(strangers_port: int) -> None:
    assert not is_free(strangers_port)


def test_port_with_a_listener_on_all_addresses_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()

        assert not is_free(listener.getsockname()[1])


def test_chosen_ports_differ_and_lie_below_the_ephemeral_ranges() -> None:
    taken: set[int] = set()
    chosen = [choose(taken) for _ in range(20)]

    assert len(set(chosen)) == 20
    assert all(21_000 <= port < 32_000 for port in chosen)


def test_configured_port_that_is_taken_is_refused_with_service_and_port(
    strangers_port: int,
) -> None:
    with pytest.raises(
        PortTakenError, match=f"port of `kafka`: expected {strangers_port}"
    ) as error:
        settle("kafka", "kafka_port", pinned=strangers_port, recorded=None, taken=set())

    assert "stack.kafka_port" in str(error.value)


def test_recorded_port_is_kept_while_it_is_free() -> None:
    port = choose(set())

    assert settle("kafka", "kafka_port", pinned=None, recorded=port, taken=set()) == (port, None)


def test_recorded_port_that_a_stranger_took_is_given_up_with_a_notice(strangers_port: int) -> None:
    port, notice = settle("kafka", "kafka_port", pinned=None, recorded=strangers_port, taken=set())

    assert port != strangers_port
    assert notice is not None
    assert f"port {strangers_port} of kafka" in notice


def test_configured_port_goes_before_the_recorded_one() -> None:
    taken: set[int] = set()
    recorded, pinned = choose(taken), choose(taken)

    assert settle("kafka", "kafka_port", pinned=pinned, recorded=recorded, taken=set())[0] == pinned
