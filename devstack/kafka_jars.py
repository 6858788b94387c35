"""Apache Kafka's jars: fetched once into the user's cache, checked against the lock at every start.

`python -m devstack.kafka_jars fetch DIR` fetches into a folder, and `lock DIR` prints the lock of
the jars in a folder; together they make a new `kafka-jars.lock` when the version changes.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import certifi

from common.errors import FatalError, RetryableError
from devstack.service import Report
from devstack.tool import ToolFailedError, run_tool

KAFKA_VERSION = "4.3.1"
_ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
_LOCK = Path(__file__).with_name("kafka-jars.lock")
_FETCH_TIMEOUT_S = 900.0


class JarsUnavailableError(RetryableError):
    """Kafka's jars are not in the cache and cannot be fetched."""

    def __init__(self, folder: Path, count: int, cause: str) -> None:
        self.folder = folder
        self.cause = cause
        super().__init__(
            f"kafka: expected to fetch its {count} jars from Maven Central for the first start, "
            f"got: {cause}; "
            f"connect to the network (or set HTTPS_PROXY) and run `sluice up` again, "
            f"or copy `{folder}` from a machine that has it"
        )


def cache_dir() -> Path:
    """Name the user's cache folder, which all stacks share; `SLUICE_CACHE_DIR` moves it."""
    if given := os.environ.get("SLUICE_CACHE_DIR"):
        return Path(given).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sluice"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sluice"


def jars_dir() -> Path:
    """Name the folder of the jars in the cache."""
    return cache_dir() / f"kafka-{KAFKA_VERSION}"


def read_lock() -> dict[str, str]:
    """Read the lock: sha256 in hexadecimal by name of the jar, in class path order."""
    lines = _LOCK.read_text(encoding="utf-8").splitlines()
    pairs = (line.split() for line in lines if line and not line.startswith("#"))
    return {name: digest for digest, name in pairs}


def find_faults(folder: Path, lock: dict[str, str]) -> list[str]:
    """List what is wrong with a folder of jars, one line each; empty when all are as locked."""
    faults = []
    for name, digest in lock.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif _sha256(path) != digest:
            faults.append(f"{name} has another sha256")
    return faults


def class_path() -> str:
    """Give the class path of the cached jars."""
    folder = jars_dir()
    return os.pathsep.join(str(folder / name) for name in read_lock())


async def ensure_jars(report: Report) -> None:
    """Make the cache hold exactly the locked jars; safe when several stacks start at once.

    Raises:
        JarsUnavailableError: They cannot be fetched.
        FatalError: What was fetched is not what the lock says.
    """
    lock = read_lock()
    folder = jars_dir()
    if not await asyncio.to_thread(find_faults, folder, lock):
        return
    await asyncio.to_thread(folder.parent.mkdir, parents=True, exist_ok=True)
    async with _exclusive(folder.with_suffix(".lock"), report):
        if await asyncio.to_thread(find_faults, folder, lock):
            await _fetch_and_check(folder, lock, report)


async def _fetch_and_check(folder: Path, lock: dict[str, str], report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch-") as name:
        work = Path(name)
        report(f"fetching {len(lock)} jars, once")
        counting = asyncio.create_task(_count(work, len(lock), report))
        try:
            await run_tool(
                "fetch of the kafka jars",
                [sys.executable, "-P", "-m", "devstack.kafka_jars", "fetch", work / "jars"],
                environment={
                    "REQUESTS_CA_BUNDLE": str(await asyncio.to_thread(collect_authorities, work)),
                    **os.environ,
                    "M2_REPO": str(work / "m2"),
                },
                timeout_s=_FETCH_TIMEOUT_S,
            )
        except ToolFailedError as error:
            last = error.output.strip().splitlines()[-1:] or [f"exit code {error.code}"]
            raise JarsUnavailableError(folder, len(lock), last[0]) from error
        finally:
            counting.cancel()
        faults = await asyncio.to_thread(find_faults, work / "jars", lock)
        if faults:
            raise FatalError(
                f"kafka jars: expected what `{_LOCK.name}` says, got: {'; '.join(faults[:3])}; "
                "nothing was installed; check the network's proxy and run `sluice up` again"
            )
        await asyncio.to_thread(_install, work / "jars", folder)


def collect_authorities(work: Path) -> Path:
    """Write all that certifi or this machine trusts into one file.

    A network's proxy may sign with an authority of its own, which only the machine knows.
    """
    machine = ssl.get_default_verify_paths()
    files = [Path(certifi.where())]
    if machine.cafile:
        files.append(Path(machine.cafile))
    elif machine.capath:
        files += sorted(Path(machine.capath).glob("*.0"))
    authorities = work / "authorities.pem"
    with authorities.open("wb") as target:
        for file in files:
            with contextlib.suppress(OSError):
                target.write(file.read_bytes() + b"\n")
    return authorities


def _install(fetched: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    fetched.replace(folder)


def _count_jars(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.jar"))


async def _count(work: Path, total: int, report: Report) -> None:
    while True:
        await asyncio.sleep(0.5)
        count = await asyncio.to_thread(_count_jars, work / "m2")
        report(f"fetching jars, once: {min(count, total)} of {total}")


@contextlib.asynccontextmanager
async def _exclusive(path: Path, report: Report) -> AsyncIterator[None]:
    """Hold a lock between processes that the kernel frees when the holder dies."""
    with path.open("w", encoding="utf-8") as file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    report("another stack is fetching the jars")
                    said = True
                await asyncio.sleep(0.2)
            else:
                break
        yield


def fetch(folder: Path) -> None:
    """Resolve Kafka with jgo and link or copy its jars into a new folder, in class path order."""
    import jgo  # noqa: PLC0415  only the process that fetches needs it

    environment = jgo.build(_ENDPOINT, cache_dir=folder.with_name("jgo"))
    folder.mkdir(parents=True)
    for jar in environment.all_jars:
        shutil.copyfile(jar, folder / Path(jar).name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: list[str]) -> int:
    """Run `fetch DIR` or `lock DIR`."""
    verb, folder = arguments[0], Path(arguments[1])
    if verb == "lock":
        for jar in sorted(folder.glob("*.jar")):
            sys.stdout.write(f"{_sha256(jar)}  {jar.name}\n")
        return 0
    try:
        fetch(folder)
    except Exception as error:  # noqa: BLE001  outermost loop of this process: one line for the parent
        cause: BaseException = error
        while (inner := cause.__cause__ or cause.__context__) is not None:
            cause = inner
        sys.stderr.write(
            f"{type(cause).__name__}: {' '.join(str(cause).split()) or 'no message'}\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
