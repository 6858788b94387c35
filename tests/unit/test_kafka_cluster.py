import pytest
from pydantic import SecretStr

from common.errors import FatalError, SettingsError
from common.settings import KafkaSettings
from connectors.kafka import _Density
from connectors.kafka_cluster import TransientBrokerError, raise_for_code, security_options


def test_a_login_reaches_the_client_and_tls_gets_a_context_that_checks() -> None:
    options = security_options(
        KafkaSettings(
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            username="sluice",
            password=SecretStr("secret"),
        )
    )
    assert options.pop("ssl_context").check_hostname
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "sluice",
        "sasl_plain_password": "secret",
    }
    assert security_options(KafkaSettings()) == {"security_protocol": "PLAINTEXT"}


def test_a_login_without_a_password_is_refused_before_anything_is_connected() -> None:
    with pytest.raises(SettingsError, match=r"kafka\.password"):
        security_options(KafkaSettings(security_protocol="SASL_PLAINTEXT", username="sluice"))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (6, TransientBrokerError),
        (74, TransientBrokerError),
        (75, TransientBrokerError),  # what a broker answers for a moment after it hung
        (76, FatalError),
        (29, FatalError),
        (42, FatalError),
    ],
    ids=["leader moved", "epoch fenced", "epoch unknown", "compression", "authority", "request"],
)
def test_an_error_code_decides_whether_a_retry_helps(code: int, error: type[Exception]) -> None:
    raise_for_code(0, "fetch")
    with pytest.raises(error, match=rf"fetch: .*\({code}\)"):
        raise_for_code(code, "fetch")


def test_a_fetch_asks_for_about_what_the_range_needs() -> None:
    density = _Density()
    density.learn(offsets=1000, size_bytes=160_000, batches=10)
    assert density.request_bytes(10_000, 1 << 30) == 1_632_000 + 16_000
    assert density.request_bytes(10_000, 500_000) == 500_000
