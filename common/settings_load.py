"""Settings of the project at hand: environment, `sluice.toml`, the stack's record, defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from common.errors import SettingsError
from common.near_miss import near_miss
from common.settings import ConnectionSettings, Section, Settings
from common.settings_source import Given, KeyPath, from_environment, from_stack, from_toml

PROJECT_FILE = "sluice.toml"
DATA_DIR = ".sluice"

_TYPE_WORDS = {
    str: "text",
    SecretStr: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
}


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for every key that is not a default the place its value came from."""

    settings: Settings
    origins: dict[KeyPath, str]


def find_project_dir(start: Path) -> Path:
    """Find the nearest folder at or above `start` with `sluice.toml` or `.sluice`, else `start`."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file() or (folder / DATA_DIR).is_dir():
            return folder
    return start


def load_settings(
    project_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> Settings:
    """Load the settings of a project.

    Args:
        project_dir: None takes `SLUICE_PROJECT_DIR`, else the project at or above the working
            directory.
        env: None is the process's environment.

    Raises:
        SettingsError: A key is unknown, a value has the wrong type or a variable is missing; the
            message names the place.
    """
    return load_with_origins(project_dir, env).settings


def load_with_origins(
    project_dir: Path | None = None, env: Mapping[str, str] | None = None
) -> LoadedSettings:
    """Load the settings of a project and remember where each came from; see `load_settings`."""
    environment = os.environ if env is None else env
    by_environment = from_environment(environment)
    named_dir = by_environment.pop(("project_dir",), None)
    if project_dir is not None:
        folder = project_dir.resolve()
    elif named_dir is not None and named_dir.value:
        folder = Path(str(named_dir.value)).expanduser().resolve()
    else:
        folder = find_project_dir(Path.cwd())
    by_file = from_toml(folder / PROJECT_FILE, environment)

    given = {keys: one for keys, one in by_environment.items() if one.value != ""}
    for keys, one in by_file.items():
        given.setdefault(keys, one)
    data_dir_given = given.pop(("data_dir",), None)
    data_dir = folder / DATA_DIR
    if data_dir_given is not None:
        value = _checked(("data_dir",), data_dir_given, str)
        data_dir = (folder / Path(str(value)).expanduser()).resolve()

    values: dict[KeyPath, object] = {}
    for keys, one in given.items():
        values[keys] = _checked(keys, one, _declared_type(keys, one))
    origins = {keys: one.origin for keys, one in given.items()}
    for keys, one in from_stack(data_dir).items():
        if keys not in values and _is_setting(keys):
            values[keys], origins[keys] = one.value, one.origin
    if data_dir_given is not None:
        origins["data_dir",] = data_dir_given.origin
    return LoadedSettings(_build(folder, data_dir, values, given), origins)


def _is_setting(keys: KeyPath) -> bool:
    section = Settings.model_fields.get(keys[0])
    kind = None if section is None else section.annotation
    return (
        isinstance(kind, type)
        and issubclass(kind, Section)
        and keys[1:] in {(name,) for name in kind.model_fields}
    )


def _declared_type(keys: KeyPath, one: Given) -> object:
    """Follow a key path through the tree; raises `SettingsError` for a key that is not there."""
    known: dict[str, FieldInfo] = {
        name: field for name, field in Settings.model_fields.items() if name != "project_dir"
    }
    for depth, key in enumerate(keys):
        path = ".".join(keys[: depth + 1])
        if keys[:depth] == ("connections",):
            known = ConnectionSettings.model_fields
            if depth + 1 == len(keys):
                raise _wrong_section(path, one, list(known))
            continue
        if key not in known:
            above = ".".join(keys[:depth])
            miss = near_miss(key, known)
            raise SettingsError(
                f"{one.origin}: `{path}` is no setting, expected one of "
                f"{', '.join(known)}{f' in [{above}]' if above else ''}{miss}"
            )
        field = known[key]
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            known = section.model_fields
            if depth + 1 == len(keys):
                raise _wrong_section(path, one, list(known))
        elif key == "connections" and depth == 0:
            if depth + 1 == len(keys):
                raise _wrong_section(path, one, ["<name>.kind", "<name>.dsn"])
        elif depth + 1 < len(keys):
            raise SettingsError(f"{one.origin}: `{path}` must be {_words(section)}, got a section")
        else:
            return Annotated[(section, *field.metadata)] if field.metadata else section
    raise AssertionError(keys)


def _wrong_section(path: str, one: Given, known: list[str]) -> SettingsError:
    return SettingsError(
        f"{one.origin}: `{path}` is a section with the keys {', '.join(known)}, got a value; "
        f"write the key inside of [{path}]"
    )


def _checked(keys: KeyPath, one: Given, declared: object) -> object:
    """Convert a value to its declared type; text is parsed only where all arrives as text."""
    try:
        adapter: TypeAdapter[object] = TypeAdapter(declared)  # type: ignore[arg-type]  # computed
        return adapter.validate_python(one.value, strict=not one.textual)
    except ValidationError:
        got = "another" if _is_secret(declared) else repr(one.value)
        raise SettingsError(
            f"{one.origin}: `{'.'.join(keys)}` must be {_words(declared)}, got {got}"
        ) from None


def _is_secret(declared: object) -> bool:
    return declared is SecretStr or any(_is_secret(part) for part in get_args(declared))


def _words(declared: object) -> str:
    """Describe a declared type in an operator's words."""
    origin = get_origin(declared)
    if origin is Annotated:
        inner, *rules = get_args(declared)
        low, high = _bound(rules, "ge"), _bound(rules, "le")
        bound = f" from {low}" if low is not None else ""
        return _words(inner) + bound + (f" to {high}" if high is not None else "")
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(declared))
    if origin in (Union, UnionType):
        return " or ".join(_words(part) for part in get_args(declared) if part is not type(None))
    return next((words for kind, words in _TYPE_WORDS.items() if declared is kind), str(declared))


def _bound(rules: list[object], name: str) -> object:
    """Find the lower (`ge`) or upper (`le`) bound among the rules of a field; None without one."""
    for rule in rules:
        inner = rule.metadata if isinstance(rule, FieldInfo) else [rule]
        for one in inner:
            if hasattr(one, name):
                return getattr(one, name)
    return None


def _build(
    folder: Path,
    data_dir: Path,
    values: dict[KeyPath, object],
    given: Mapping[KeyPath, Given],
) -> Settings:
    tree: dict[str, dict[str, object]] = {}
    connections: dict[str, dict[str, object]] = {}
    for keys, value in values.items():
        if keys[0] == "connections":
            connections.setdefault(keys[1], {})[keys[2]] = value
        else:
            tree.setdefault(keys[0], {})[keys[1]] = value
    for name, parts in connections.items():
        for missing in sorted(set(ConnectionSettings.model_fields) - set(parts)):
            origin = next(one.origin for keys, one in given.items() if keys[1:2] == (name,))
            raise SettingsError(
                f"{origin}: connection `{name}` needs `{missing}`, got none; "
                f"add it to [connections.{name}]"
            )
    return Settings.model_validate(
        {"project_dir": folder, "data_dir": data_dir, "connections": connections, **tree}
    )
