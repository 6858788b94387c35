"""Shapes of a file's parts: one declaration gives checks, messages and JSON Schema."""

from dataclasses import dataclass

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
COLUMN_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
TOPIC_PATTERN = r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$"


@dataclass(frozen=True)
class Text:
    """A text; with a pattern, `expected` says in words what it must look like."""

    expected: str = "text"
    pattern: str | None = None
    doc: str = ""


@dataclass(frozen=True)
class Expression:
    """A SQL expression; its text is parsed later, against the fields."""

    doc: str = ""


@dataclass(frozen=True)
class Duration:
    """A duration, read as milliseconds; `minimum_ms` is 0 or 1. A signed one may be negative."""

    minimum_ms: int = 0
    doc: str = ""
    signed: bool = False


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds."""

    minimum: int
    maximum: int
    doc: str = ""


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    doc: str = ""


@dataclass(frozen=True)
class Flag:
    """True or false."""

    doc: str = ""


@dataclass(frozen=True)
class Scalar:
    """A text, a number, a time or true or false, read as the text that stands there.

    Attributes:
        nullable: Whether null is allowed, and read as None.
    """

    doc: str = ""
    nullable: bool = False


@dataclass(frozen=True)
class Anything:
    """Whatever YAML holds: every scalar as the text that stands there, null as None."""

    doc: str = ""


@dataclass(frozen=True)
class FieldTypeText:
    """A field type such as `decimal(12,2)?`."""

    doc: str = ""


@dataclass(frozen=True)
class Listing:
    """A list of equal shapes."""

    item: "Shape"
    minimum: int = 0
    doc: str = ""


@dataclass(frozen=True)
class Table:
    """Names that the user chooses, each with a value of one shape, in the order of the file."""

    value: "Shape"
    minimum: int = 0
    doc: str = ""


@dataclass(frozen=True)
class Options:
    """Named options.

    Attributes:
        options: Every option with its shape.
        required: Options that must be there.
        one_of: Options of which exactly one must be there; empty when there is no such choice.
    """

    options: dict[str, "Shape"]
    required: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    doc: str = ""


@dataclass(frozen=True)
class WordOr:
    """Either one fixed word or options."""

    word: str
    options: Options
    doc: str = ""


@dataclass(frozen=True)
class TextOr:
    """Either text or options."""

    text: Text
    options: Options
    doc: str = ""


@dataclass(frozen=True)
class Either:
    """One of two forms, told apart by what YAML holds: `plain` is a scalar or a list."""

    plain: "Shape"
    mapping: Options | Table
    doc: str = ""


@dataclass(frozen=True)
class Again:
    """Options that hold themselves further down; `name` is theirs in the JSON Schema."""

    name: str
    options: Options


Shape = (
    Text
    | Expression
    | Duration
    | Whole
    | Choice
    | FieldTypeText
    | Flag
    | Scalar
    | Anything
    | Again
    | Listing
    | Table
    | Options
    | WordOr
    | TextOr
    | Either
)
