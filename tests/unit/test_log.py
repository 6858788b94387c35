"""Logging: one form, on stderr, without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from common.log import configure_logging
from common.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_json_lines_hold_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(format="json"))
    structlog.get_logger("x").info("checkpoint committed", flush_seq=7)
    out = capsys.readouterr()
    line = json.loads(out.err)
    assert out.out == ""
    assert (line["event"], line["flush_seq"], line["level"]) == ("checkpoint committed", 7, "info")


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    configure_logging(LogSettings.model_validate({"format": form}))
    log = structlog.get_logger("x")
    log.warning(
        "connected to postgresql://u:hunter2@h/d",
        password="hunter2",
        dsn="hunter2",
        inner={"api_key": "hunter2", "urls": ["http://u:hunter2@h"]},
        secret_value=SecretStr("hunter2"),
        deduplication_token="shown",
    )
    logging.getLogger("driver").error("no route to %s", "postgresql://u:hunter2@h/d")
    text = capsys.readouterr().err
    assert "hunter2" not in text
    assert "shown" in text
    assert "no route to" in text


def test_lines_below_the_level_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(level="WARNING"))
    structlog.get_logger("x").info("quiet")
    assert capsys.readouterr().err == ""
