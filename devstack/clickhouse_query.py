"""Reads as much of a ClickHouse statement as an HTTP front needs: kind, format, start of data.

The engine parses the statement; this module only finds what decides the route of a request. It
knows ClickHouse's quotes (`'`, `"`, backtick), comments (`--`, `#!`, `/* */`), here-documents
(`$tag$`) and brackets, so that a word inside a string is never taken for a keyword.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(
    r"""
      (?P<space>[\s\x00]+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | \$(\w*)\$.*?\$\3\$)
    | (?P<name>"(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`)
    | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
    | (?P<number>\d[\w.]*)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_READ_KINDS = frozenset(
    {"SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "FROM", "VALUES", "("}
)


class StatementKind(Enum):
    """How a statement travels through the engine."""

    SELECT = "select"
    INSERT_DATA = "insert with data"
    COMMAND = "command"


@dataclass(frozen=True)
class Token:
    """One piece of a statement: `kind` is a group of the scanner, offsets are in characters."""

    kind: str
    text: str
    start: int
    end: int
    depth: int

    def is_word(self, *words: str) -> bool:
        """Tell whether this is one of the given keywords, outside brackets."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() in words


@dataclass(frozen=True)
class Statement:
    """What the front knows of one statement.

    Attributes:
        kind: How the statement travels.
        text: The statement; of an insert with data, everything before `FORMAT` or `VALUES`.
        format: Format that the statement names; of an insert with data, that of its data.
        data_start: Character offset in the whole text at which the data of an insert begins.
        reads_only: Whether the statement changes nothing.
    """

    kind: StatementKind
    text: str
    format: str | None = None
    data_start: int = 0
    reads_only: bool = False


class MultiStatementError(ValueError):
    """The text holds more than one statement."""


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a text without blanks and comments; brackets count their depth."""
    depth = 0
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind == "space":
            continue
        piece = match.group()
        if piece in ")]}":
            depth = max(0, depth - 1)
        yield Token(kind, piece, match.start(), match.end(), depth)
        if piece in "([{":
            depth += 1


def parse(text: str) -> Statement:
    """Find the kind, the format and the start of the data of one statement.

    Raises:
        MultiStatementError: If something other than blanks and comments follows a semicolon.
    """
    scan = tokens(text)
    first = next(scan, None)
    if first is None:
        return Statement(StatementKind.COMMAND, text, reads_only=True)
    if first.is_word("INSERT"):
        return _parse_insert(text, scan)
    format_name, end = _parse_tail(text, scan)
    keyword = first.text.upper()
    kind = StatementKind.SELECT if keyword in {"SELECT", "WITH", "("} else StatementKind.COMMAND
    return Statement(kind, text[:end], format_name, reads_only=keyword in _READ_KINDS)


def _parse_tail(text: str, scan: Iterator[Token]) -> tuple[str | None, int]:
    """Find the last `FORMAT name` outside brackets, and where the statement ends."""
    format_name, previous, end = None, None, len(text)
    ended = False
    for token in scan:
        if ended and token.text != ";":
            message = (
                f"multi-statements are not allowed, got a second one at position {token.start}"
            )
            raise MultiStatementError(message)
        if token.text == ";" and token.depth == 0:
            end, ended = min(end, token.start), True
        elif previous is not None and previous.is_word("FORMAT") and token.kind == "word":
            format_name = token.text
        elif format_name == getattr(previous, "text", None) and not token.is_word("SETTINGS"):
            format_name = None  # `format` was a column, not the clause
        previous = token
    return format_name, end


def _parse_insert(text: str, scan: Iterator[Token]) -> Statement:
    """Tell an insert that carries data from one that reads it from a query or a file."""
    words: list[Token] = []
    for token in scan:
        names_table = len(words) > 0 and (
            words[-1].is_word("INTO", "TABLE", "FUNCTION") or words[-1].text == "."
        )
        if not names_table:
            if token.is_word("SELECT", "WITH", "INFILE", "WATCH"):
                _, end = _parse_tail(text, scan)
                return Statement(StatementKind.COMMAND, text[:end])
            if token.is_word("VALUES"):
                return Statement(
                    StatementKind.INSERT_DATA, text[: token.start], "Values", token.end
                )
            if words and words[-1].is_word("FORMAT") and token.kind == "word":
                return Statement(
                    StatementKind.INSERT_DATA,
                    text[: words[-1].start],
                    token.text,
                    _data_start(text, token.end),
                )
            if token.text == "(" and words and words[-1].text == ")":
                # `INSERT INTO t (a, b) (SELECT …)`
                _, end = _parse_tail(text, scan)
                return Statement(StatementKind.COMMAND, text[:end])
        if token.text == ";":
            _, _ = _parse_tail(text, iter([token, *scan]))
            return Statement(StatementKind.INSERT_DATA, text[: token.start], "Values", token.end)
        words.append(token)
    return Statement(StatementKind.INSERT_DATA, text, "Values", len(text))


def _data_start(text: str, position: int) -> int:
    """Skip the blanks after the format's name and at most one line break, as the server does."""
    while position < len(text) and text[position] in " \t\f":
        position += 1
    if text.startswith("\r\n", position):
        return position + 2
    if text.startswith("\n", position):
        return position + 1
    return position
