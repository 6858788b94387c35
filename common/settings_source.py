"""Where settings come from: tables of key path to value, each value with its place."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import SettingsError
from common.stack_record import STACK_ID_VARIABLE, STACK_RECORD, read_stack_addresses

KeyPath = tuple[str, ...]
ENVIRONMENT_PREFIX = "SLUICE_"
TEST_PREFIX = "SLUICE_TEST_"
"""Variables with this prefix steer the test suite and are no settings."""
OTHER_VARIABLES = frozenset({STACK_ID_VARIABLE, "SLUICE_CACHE_DIR"})
"""No settings: the mark of a stack's processes and the folder of downloads."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER = re.compile(r"^\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+)\s*=")


@dataclass(frozen=True)
class Given:
    """A value that somebody gave.

    Attributes:
        value: As read; text from the environment, a TOML value from the file.
        origin: Place to name in messages, such as `sluice.toml:3` or a variable's name.
        textual: Whether every type arrives as text here, so that numbers are parsed from it.
    """

    value: object
    origin: str
    textual: bool = False


def from_environment(environment: Mapping[str, str]) -> dict[KeyPath, Given]:
    """Collect the `SLUICE_…` variables; `__` separates section and key, case does not matter."""
    found: dict[KeyPath, Given] = {}
    for name in sorted(environment):
        if name.startswith(TEST_PREFIX) or name in OTHER_VARIABLES:
            continue
        if name.startswith(ENVIRONMENT_PREFIX):
            path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
            found[path] = Given(environment[name], name, textual=True)
    return found


def from_toml(path: Path, environment: Mapping[str, str]) -> dict[KeyPath, Given]:
    """Read `sluice.toml`, `${NAME}` in texts replaced from the environment; empty without a file.

    Raises:
        SettingsError: The file is no TOML or cannot be read, or a variable it names is not set.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: expected a readable TOML file, got: {error}") from error
    lines = _line_numbers(text)
    found: dict[KeyPath, Given] = {}
    for keys, value in _leaves(tree, ()):
        line = next((lines[keys[:n]] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)
        origin = path.name if line is None else f"{path.name}:{line}"
        found[keys] = Given(_substitute(value, keys, origin, environment), origin)
    return found


def from_stack(data_dir: Path) -> dict[KeyPath, Given]:
    """Take the addresses of the embedded services from the stack's record."""
    addresses = read_stack_addresses(data_dir)
    return {tuple(name.split(".")): Given(one, STACK_RECORD) for name, one in addresses.items()}


def _leaves(tree: Mapping[str, object], above: KeyPath) -> list[tuple[KeyPath, object]]:
    leaves: list[tuple[KeyPath, object]] = []
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            leaves.extend(_leaves(value, (*above, key)))
        else:
            leaves.append(((*above, key), value))
    return leaves


def _line_numbers(text: str) -> dict[KeyPath, int]:
    """Find the line of each header and key that stands on a line of its own, for messages."""
    lines: dict[KeyPath, int] = {}
    section: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _dotted(header[1])
            lines.setdefault(section, number)
        elif key := _KEY.match(line):
            lines.setdefault(section + _dotted(key[1]), number)
    return lines


def _dotted(text: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _substitute(
    value: object, keys: KeyPath, origin: str, environment: Mapping[str, str]
) -> object:
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environment:
            raise SettingsError(
                f"{origin}: `{'.'.join(keys)}` needs the environment variable `{name}`, "
                f"which is not set; set it, or correct the name there"
            )
        return environment[name]

    return _VARIABLE.sub(variable, value)
