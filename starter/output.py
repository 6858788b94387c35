"""What commands print: tables and JSON on stdout, messages and progress on stderr."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer


class SpecOutput(StrEnum):
    """Form of a printed specification."""

    yaml = "yaml"
    json = "json"


class OutputFormat(StrEnum):
    """Form of printed data."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[OutputFormat, typer.Option("-o", "--output", help="Form of the output.")]
"""The option `-o` of every command that prints data."""


def command_app(help_text: str) -> typer.Typer:
    """Make the `app` of a command module: plain help, no completion, no traceback decoration."""
    return typer.Typer(
        help=help_text,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def say(text: str) -> None:
    """Write a message to stderr at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Write a line of the answer to stdout."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Write one JSON document to stdout; what JSON does not know is written as text."""
    show(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_spec(values: dict[str, Any], output: SpecOutput) -> None:
    """Write a specification to stdout, as YAML or JSON."""
    if output is SpecOutput.json:
        print_json(values)
        return
    from ruamel.yaml import YAML

    writer = YAML()
    writer.width = 120
    writer.dump(values, sys.stdout)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write an aligned table to stdout, numbers to the right."""
    show(format_table(columns, rows))


def format_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""Align a table, numbers to the right; None is a dash.

    >>> format_table(["name", "lag"], [["a", 10], ["bc", None]]).splitlines()
    ['name  lag', 'a      10', 'bc      -']
    """
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [
        max([len(name), *(len(row[index]) for row in texts)]) for index, name in enumerate(columns)
    ]
    right = [
        any(isinstance(row[index], (int, float)) for row in rows) for index in range(len(columns))
    ]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(columns), *texts]
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def format_rate(per_second: float) -> str:
    """Write a rate in three digits.

    >>> format_rate(612_345), format_rate(1_240_000), format_rate(87.4)
    ('612k/s', '1.24M/s', '87/s')
    """
    if per_second >= 999_500:
        return f"{per_second / 1e6:.2f}M/s"
    return f"{per_second / 1e3:.0f}k/s" if per_second >= 10_000 else f"{per_second:,.0f}/s"


def format_amount(count: int) -> str:
    """Write a count that may be large in short form.

    >>> format_amount(812_000), format_amount(42_000), format_amount(7)
    ('0.8M', '42k', '7')
    """
    if count >= 100_000:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.0f}k" if count >= 10_000 else f"{count:,}"


def format_seconds(seconds: float) -> str:
    """Write a span of time for people.

    >>> format_seconds(3.27), format_seconds(75), format_seconds(7260)
    ('3.3 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def iso_time(time_ms: int | None) -> str | None:
    """Write milliseconds since the epoch as ISO 8601 in UTC.

    >>> iso_time(1_767_225_600_123)
    '2026-01-01T00:00:00.123Z'
    """
    if time_ms is None:
        return None
    try:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return "+inf" if time_ms > 0 else "-inf"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}Z"
