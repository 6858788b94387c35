"""Make or refresh `.venv` from the hashed lock; standard library only, called by `bin/setup`.

The steps: a virtual environment, uv and the build backends with pip, the lock with uv, the project
itself. Each package is checked against its hash. Nothing that is installed gets removed, so that a
stack which runs from this environment goes on; a stamp with the checksum of all inputs makes the
next call instant.
"""

import ast
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SETUP_LOCK = ROOT / "requirements-setup.lock"
LOCKS = {"runtime": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}


def main(arguments: list[str]) -> int:
    """Bring `.venv` to the level `runtime` or `dev`; 0 when it is there."""
    if len(arguments) != 1 or arguments[0] not in LOCKS:
        say("usage: bin/setup runtime|dev")
        return 2
    level = arguments[0]
    if is_current(level):
        return 0
    if Path(sys.prefix).resolve() != VENV.resolve():
        say(f"making .venv with Python {sys.version.split()[0]}")
        venv.create(VENV, clear=VENV.exists(), symlinks=True, with_pip=True)
        return subprocess.call([str(VENV / "bin/python"), __file__, level])
    return install(level)


def is_current(level: str) -> bool:
    """Tell whether the environment was made from today's lock; `dev` contains `runtime`."""
    levels = ("dev",) if level == "dev" else ("runtime", "dev")
    return any(
        stamp(name).is_file() and stamp(name).read_text() == checksum(name) for name in levels
    )


def install(level: str) -> int:
    """Install uv, the lock and the project into the environment that runs this."""
    environment = {**os.environ, **uv_environment()}
    python = str(VENV / "bin/python")
    say("1/3 uv and the build backends")
    if importlib.util.find_spec("pip") is None:  # an earlier start was interrupted
        run([python, "-m", "ensurepip"], environment, quiet=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--retries", "2", "--require-hashes"]
    if not run(
        [*pip, "--disable-pip-version-check", "-r", str(SETUP_LOCK)], environment, quiet=True
    ):
        return unreachable("pip")
    uv = [str(VENV / "bin/uv"), "pip", "install", "--python", python, "--no-build-isolation"]
    say(f"2/3 {LOCKS[level].name}: about 700 MB on the first time, then from uv's cache")
    if not run([*uv, "--require-hashes", "-r", str(LOCKS[level])], environment):
        return unreachable("uv")
    say("3/3 sluice itself")
    if not run([*uv, "--quiet", "--no-deps", "-e", str(ROOT)], environment):
        say("the project itself could not be installed; the lines above say why")
        return 1
    stamp(level).write_text(checksum(level))
    say("ready")
    return 0


def checksum(level: str) -> str:
    """Hash everything that the environment is made from."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {ROOT}".encode())
    for path in (SETUP_LOCK, LOCKS[level], ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def stamp(level: str) -> Path:
    """Name the file that says what the environment was made from."""
    return VENV / f".sluice-{level}"


def uv_environment() -> dict[str, str]:
    """Tell uv what pip is configured with: index, find-links, proxy and certificate."""
    pip = pip_configuration()
    wanted = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "120")),
        "UV_PYTHON_DOWNLOADS": "never",
        "SSL_CERT_FILE": pip.get("cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
        **cache_environment(),
    }
    return {name: value for name, value in wanted.items() if value and not os.environ.get(name)}


def pip_configuration() -> dict[str, str]:
    """Read pip's settings; environment over `install` over `global`."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = str(ast.literal_eval(value))
    return found["global"] | found["install"] | found[":env:"]


def cache_environment() -> dict[str, str]:
    """Place uv's cache beside the environment when the home directory cannot be written."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        return {"UV_CACHE_DIR": str(VENV / ".uv-cache")}
    same_device = cache.stat().st_dev == ROOT.stat().st_dev
    return {} if same_device else {"UV_LINK_MODE": "copy"}


def run(command: list[str], environment: dict[str, str], *, quiet: bool = False) -> bool:
    """Run a step; a quiet one shows its last lines only when it fails."""
    if not quiet:
        return subprocess.call(command, env=environment) == 0
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")]
        say("\n".join(errors[-1:] or done.stdout.splitlines()[-3:]))
    return done.returncode == 0


def unreachable(tool: str) -> int:
    """Say what to do when packages could not be installed."""
    say(
        f"{tool} could not install the locked packages; check the network, the proxy, free disk "
        "space and the index that `pip config list` shows, then run the same command again: it "
        "goes on where it stopped"
    )
    return 1


def say(text: str) -> None:
    """Tell the user, on standard error."""
    sys.stderr.write(f"setup: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
