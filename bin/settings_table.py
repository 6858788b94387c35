"""Print the table of settings for `docs/operations.md`, from `common/settings.py`."""

import inspect
import re
import sys
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pydantic import BaseModel, SecretStr

from common.settings import Section, Settings

_ENTRY = re.compile(r"^ {4}(\w+): (.+(?:\n {8,}.+)*)", re.MULTILINE)

_PLAIN = {
    "kafka.username": "User of SASL.",
    "kafka.password": "Password of SASL.",
    "clickhouse.database": "Database of the tables.",
    "clickhouse.username": "User that writes and reads.",
    "clickhouse.password": "Password of that user.",
    "object_store.region": "Region of the bucket.",
    "object_store.access_key": "Access key of the bucket.",
    "object_store.secret_key": "Secret key of the bucket.",
    "log.level": "From which level on: `DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    "log.format": "`text` or `json`, one line per event on stderr.",
    "stack": "Port of the embedded service; without one a free port is chosen once and kept.",
    "connections.<name>.kind": "Kind of the named connection.",
}
"""Meanings of settings whose docstring leaves them out, because the name says it."""


def rows() -> list[str]:
    """Write one row per setting, in the order of the tree."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            meanings = _meanings(kind)
            for key, inner in kind.model_fields.items():
                path = f"{name}.{key}"
                meaning = meanings.get(key) or _PLAIN.get(path) or _PLAIN.get(name, "")
                lines.append(_row(path, inner.default, meaning))
        elif name not in ("project_dir", "data_dir"):
            section = next(one for one in get_args(kind) if issubclass(one, Section))
            meanings = _meanings(section)
            lines += [
                _row(
                    f"{name}.<name>.{key}",
                    "required",
                    meanings.get(key) or _PLAIN.get(f"{name}.<name>.{key}", ""),
                )
                for key in section.model_fields
            ]
    return lines


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    text = inspect.getdoc(section) or ""
    return {
        name: " ".join(about.split()).replace("None means", "not set:")
        for name, about in _ENTRY.findall(text)
    }


def _row(name: str, default: object, meaning: str) -> str:
    shown = default.get_secret_value() if isinstance(default, SecretStr) else default
    if isinstance(shown, bool):
        shown = str(shown).lower()  # as TOML writes it
    written = "" if shown in (None, "") else f"`{shown}`"
    return f"| `{name}` | {written} | {meaning} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(rows()) + "\n")
