"""A YAML file read against its shape: plain values, and every problem with its place."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from common.duration import format_duration, parse_duration
from common.errors import UsageError
from common.near_miss import near_miss
from contracts.field_type_parse import parse_field_type
from contracts.problem import Path, Problem, path_text
from contracts.shape import (
    COLUMN_PATTERN,
    Again,
    Anything,
    Choice,
    Duration,
    Either,
    Expression,
    FieldTypeText,
    Flag,
    Listing,
    Options,
    Scalar,
    Shape,
    Table,
    Text,
    TextOr,
    Whole,
    WordOr,
)

Plain = Any
"""What YAML holds: text, numbers, lists and dicts."""

MISSING = object()
"""Stands for a value that could not be read; its problem is already recorded."""

_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass
class Document:
    """A YAML file with the place of each of its parts.

    Attributes:
        file: Name of the file as the user gave it.
        problems: What was found wrong so far.
    """

    file: str
    problems: list[Problem] = field(default_factory=list)
    _places: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def report(self, path: Path, text: str) -> None:
        """Record a problem; a part that is not there is placed at the nearest part above it."""
        place = path
        while place and place not in self._places:
            place = place[:-1]
        line, column = self._places.get(place, (1, 1))
        self.problems.append(Problem(self.file, line, column, path_text(path), text))

    def locate(self, path: Path, node: Node) -> None:
        """Remember where a part stands."""
        self._places[path] = (node.start_mark.line + 1, node.start_mark.column + 1)


def compose(path: FilePath, document: Document, expected: str) -> MappingNode | None:
    """Read a file as YAML 1.2; None when it is no mapping, with the problem recorded.

    Args:
        path: The file.
        document: Takes the problem.
        expected: What the file should be, such as "a pipeline that begins with `kind:`".
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        document.report((), f"expected readable UTF-8 text, got {error}")
        return None
    try:
        node = YAML().compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reason = str(error.problem or error.context or error).replace("\n", " ")
        document.problems.append(
            Problem(document.file, line, column, "", f"expected YAML, got a mistake: {reason}")
        )
        return None
    except (YAMLError, RecursionError) as error:
        document.report((), f"expected YAML, got a mistake: {str(error).splitlines()[0]}")
        return None
    if not isinstance(node, MappingNode):
        document.problems.append(Problem(document.file, 1, 1, "", f"expected {expected}, got none"))
        return None
    return node


def read(document: Document, node: Node, shape: Shape, path: Path = ()) -> Plain:
    """Read a node by its shape into text, numbers, lists and dicts; `MISSING` for what is wrong."""
    if not (isinstance(node, ScalarNode) and node.value == ""):
        document.locate(path, node)  # else its name is the better place
    if isinstance(shape, Again | Either | TextOr):
        return read(document, node, _form(shape, node), path)
    if isinstance(shape, Options):
        return _read_options(document, node, shape, path)
    if isinstance(shape, Anything):
        return _read_anything(document, node, path)
    if isinstance(shape, Table):
        return _read_table(document, node, shape, path)
    if isinstance(shape, Listing):
        return _read_list(document, node, shape, path)
    if isinstance(shape, WordOr):
        return _read_word_or(document, node, shape, path)
    return _read_scalar(document, node, shape, path)


def _form(shape: Again | Either | TextOr, node: Node) -> Shape:
    if isinstance(shape, Again):
        return shape.options
    if isinstance(shape, Either):
        return shape.mapping if isinstance(node, MappingNode) else shape.plain
    if isinstance(node, MappingNode):
        return shape.options
    expected = f"{shape.text.expected}, or {{{', '.join(shape.options.options)}: …}}"
    return replace(shape.text, expected=expected)


def scalar_text(node: Node) -> str | None:
    """Give the text of a scalar as written; None for null, lists and mappings."""
    if not isinstance(node, ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        return None
    # The parser marks the places where lines of a folded text were joined.
    return str(node.value).replace("\a", "") if node.style == ">" else str(node.value)


def entries(document: Document, node: MappingNode, path: Path) -> list[tuple[str, Node, Node]]:
    """List (name, key node, value node); duplicate names and keys that are no text are problems."""
    found: dict[str, tuple[str, Node, Node]] = {}
    for key, value in node.value:
        # A key is a name, also where YAML would take the word for null.
        name = str(key.value) if isinstance(key, ScalarNode) and key.value else None
        if name is None:
            document.locate((*path, "?"), key)
            document.report((*path, "?"), "expected a name before the colon")
            continue
        here = (*path, name)
        if name in found:
            first = found[name][1].start_mark.line + 1
            document.locate(here, key)
            document.report(here, f"expected each name once, got it again (first in line {first})")
            continue
        document.locate(here, key)
        found[name] = (name, key, value)
    return list(found.values())


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "options"
    if isinstance(node, SequenceNode):
        return "a list"
    text = scalar_text(node)
    return "nothing" if text is None else f"`{text}`"


def _read_options(document: Document, node: Node, shape: Options, path: Path) -> Plain:
    if not isinstance(node, MappingNode):
        document.report(path, f"expected options ({', '.join(shape.options)}), got {_kind(node)}")
        return MISSING
    values: dict[str, Any] = {}
    found = entries(document, node, path)
    names = [name for name, _, _ in found]
    for name, _, value in found:
        here = (*path, name)
        if name in shape.options:
            values[name] = read(document, value, shape.options[name], here)
        else:
            hint = near_miss(name, shape.options)
            listed = ", ".join(_expected_options(shape, names))
            document.report(here, f"unknown option, expected one of {listed}{hint}")
    _report_missing(document, shape, names, path)
    return values


def _expected_options(shape: Options, names: list[str]) -> tuple[str, ...]:
    """List the choice that is still open, else all options."""
    return (
        tuple(shape.options)
        if set(names) & set(shape.one_of)
        else shape.one_of or tuple(shape.options)
    )


def _report_missing(document: Document, shape: Options, names: list[str], path: Path) -> None:
    """Report options that must be there, unless an unknown one is a misspelling of it."""
    unknown = [name for name in names if name not in shape.options]
    for name in shape.required:
        if name not in names and not any(near_miss(other, [name]) for other in unknown):
            document.report((*path, name), "expected this option, got none")
    chosen = [name for name in shape.one_of if name in names]
    if len(chosen) > 1 or (shape.one_of and not chosen and not unknown):
        got = " and ".join(chosen) or "none"
        document.report(path, f"expected exactly one of {', '.join(shape.one_of)}, got {got}")


def _read_table(document: Document, node: Node, shape: Table, path: Path) -> Plain:
    if not isinstance(node, MappingNode):
        document.report(path, f"expected names with values, got {_kind(node)}")
        return MISSING
    values: dict[str, Any] = {}
    found = entries(document, node, path)
    for name, _, value in found:
        here = (*path, name)
        if not re.fullmatch(COLUMN_PATTERN, name):
            document.report(
                here,
                "expected a name of letters, digits and _ that begins with a letter or _, "
                "at most 63 long",
            )
            continue
        values[name] = read(document, value, shape.value, here)
    if len(found) < shape.minimum:
        document.report(path, f"expected at least {shape.minimum}, got {len(found)}")
    return values


def _read_word_or(document: Document, node: Node, shape: WordOr, path: Path) -> Plain:
    if isinstance(node, MappingNode):
        return _read_options(document, node, shape.options, path)
    options = ", ".join(shape.options.options)
    return _read_scalar(
        document, node, Choice((shape.word,)), path, f"`{shape.word}` or {{{options}: …}}"
    )


def _read_list(document: Document, node: Node, shape: Listing, path: Path) -> Plain:
    if not isinstance(node, SequenceNode):
        document.report(path, f"expected a list, got {_kind(node)}")
        return MISSING
    if len(node.value) < shape.minimum:
        document.report(path, f"expected at least {shape.minimum}, got {len(node.value)}")
    return [
        read(document, item, shape.item, (*path, index)) for index, item in enumerate(node.value)
    ]


def _read_anything(document: Document, node: Node, path: Path) -> Plain:
    document.locate(path, node)
    if isinstance(node, SequenceNode):
        return [
            _read_anything(document, item, (*path, index)) for index, item in enumerate(node.value)
        ]
    if isinstance(node, MappingNode):
        return {
            name: _read_anything(document, value, (*path, name))
            for name, _, value in entries(document, node, path)
        }
    return scalar_text(node)


def _read_scalar(
    document: Document, node: Node, shape: Shape, path: Path, expected: str = ""
) -> Plain:
    text = scalar_text(node)
    if text is None:
        if isinstance(node, ScalarNode) and isinstance(shape, Scalar) and shape.nullable:
            return None
        document.report(path, f"expected {expected or _expected(shape)}, got {_kind(node)}")
        return MISSING
    try:
        return _scalar(text, shape, expected)
    except UsageError as error:
        document.report(path, str(error))
        return MISSING


def _expected(shape: Shape) -> str:
    if isinstance(shape, Text):
        return shape.expected
    if isinstance(shape, Expression):
        return "an SQL expression"
    if isinstance(shape, Duration):
        return "a duration such as 250ms, 2s, 1m, 1h or 7d"
    if isinstance(shape, Whole):
        return f"a whole number from {shape.minimum:,} to {shape.maximum:,}"
    if isinstance(shape, Choice):
        return f"one of {', '.join(shape.words)}" if len(shape.words) > 1 else f"`{shape.words[0]}`"
    if isinstance(shape, Flag):
        return "true or false"
    if isinstance(shape, Scalar):
        return "a text or number"
    return "a field type such as string, int64? or decimal(12,2)"


def _scalar(text: str, shape: Shape, expected: str) -> str | int | bool:
    """Read one scalar; `UsageError` says what was expected."""
    refusal = f"expected {expected or _expected(shape)}, got `{text}`"
    if isinstance(shape, Duration):
        return _duration(text, shape)
    if isinstance(shape, FieldTypeText):
        return str(parse_field_type(text))
    if isinstance(shape, Flag):
        if text.lower() not in {"true", "false"}:
            raise UsageError(refusal)
        return text.lower() == "true"
    if isinstance(shape, Whole):
        if not _INTEGER.fullmatch(text) or not shape.minimum <= int(text) <= shape.maximum:
            raise UsageError(refusal)
        return int(text)
    if isinstance(shape, Choice) and text not in shape.words:
        raise UsageError(refusal + (near_miss(text, shape.words) if len(shape.words) > 1 else ""))
    if isinstance(shape, Text) and shape.pattern and not re.fullmatch(shape.pattern, text):
        raise UsageError(refusal)
    return text


def _duration(text: str, shape: Duration) -> int:
    if shape.signed and text.startswith("-"):
        return -parse_duration(text[1:])
    value = parse_duration(text)
    if value < shape.minimum_ms:
        raise UsageError(
            f"expected a duration of at least {format_duration(shape.minimum_ms)}, got `{text}`"
        )
    return value
