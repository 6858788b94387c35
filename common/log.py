"""Logging: lowercase facts with their data in fields, to stderr, as text or as JSON lines.

Modules get their logger with `structlog.get_logger(__name__)` and write
`log.info("checkpoint committed", flush_seq=7)`. The standard library's loggers go the same way.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from pydantic import SecretStr

from common.settings import LogSettings

MASK = "**********"
_SECRET_NAME = re.compile(
    r"password|passwd|secret|api_?key|access_?key|(auth|access|bearer)_?token|^dsn$|_dsn$",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@")


def configure_logging(settings: LogSettings) -> None:
    """Send every log line of this process to stderr in the wanted form; the last call counts."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        stamp,
    ]
    last: list[structlog.typing.Processor]
    if settings.format == "json":
        last = [structlog.processors.format_exc_info, mask_secrets, _json_renderer()]
    else:
        colors = sys.stderr.isatty()
        plain = structlog.dev.plain_traceback
        last = [
            mask_secrets,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain, pad_event_to=0),
        ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def mask_secrets(
    _logger: Any,  # noqa: ANN401 - structlog's protocol
    _method: str,
    event: MutableMapping[str, Any],
) -> MutableMapping[str, Any]:
    """Hide fields whose names say that they are secret, and passwords inside of addresses."""
    for name, value in event.items():
        event[name] = MASK if _SECRET_NAME.search(name) else _masked(value)
    return event


def _masked(value: Any) -> Any:  # noqa: ANN401 - any field
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str):
        return _CREDENTIALS.sub(rf"\1:{MASK}@", value)
    if isinstance(value, Mapping):
        return {
            name: MASK if _SECRET_NAME.search(str(name)) else _masked(inner)
            for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_masked(inner) for inner in value]
    return value


def _json_renderer() -> structlog.processors.JSONRenderer:
    return structlog.processors.JSONRenderer(default=str)
