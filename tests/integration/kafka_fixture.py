"""The address of the broker that the Kafka tests use, until a session fixture starts one."""

import os

import pytest


@pytest.fixture(scope="session")
def kafka_address() -> str:
    address = os.environ.get("SLUICE_TEST_KAFKA")
    if address is None:
        pytest.skip("needs a Kafka broker: SLUICE_TEST_KAFKA is not set")
    return address
