"""Short-lived programs of the stack: run to the end, killed when the caller is cancelled."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from common.errors import FatalError
from devstack.service import Account


class ToolFailedError(FatalError):
    """A helper program ended with an error."""

    def __init__(self, tool: str, code: int, output: str) -> None:
        self.tool = tool
        self.code = code
        self.output = output
        last = output.strip().splitlines()[-1] if output.strip() else "no output"
        super().__init__(
            f"{tool}: expected it to succeed, got exit code {code}: {last}; "
            "correct the cause and run `sluice up` again"
        )


async def run_tool(
    name: str,
    command: Sequence[str | Path],
    *,
    environment: dict[str, str],
    working_dir: Path | None = None,
    account: Account | None = None,
    timeout_s: float = 120.0,
) -> str:
    """Run a program and give its combined output.

    Raises:
        ToolFailedError: It ended with another code than 0, or not within `timeout_s`.
    """
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
        cwd=working_dir,
        start_new_session=True,
        **account_arguments(account),
    )
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise ToolFailedError(name, -1, f"no end within {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    text = output.decode(errors="replace")
    if process.returncode:
        raise ToolFailedError(name, process.returncode, text)
    return text


class AccountArguments(TypedDict, total=False):
    """Arguments of a subprocess that name its user."""

    user: int
    group: int
    extra_groups: list[int]


def account_arguments(account: Account | None) -> AccountArguments:
    """Give the arguments that make a subprocess run as another user."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}
