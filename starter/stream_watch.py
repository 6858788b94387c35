"""Watching a stream until it ends or reaches a state, with a live line on stderr."""

import asyncio
from collections.abc import Collection

from common.errors import ServiceUnavailableError
from starter.live import Show, WaitTimedOutError, live
from starter.output import say
from starter.stream_client import NoAnswerError, StreamClient, StreamRun
from starter.stream_view import live_line
from streaming.status import StreamResult, StreamStatus

POLL_INTERVAL_S = 0.4
RETRY_PAUSE_S = 1.0


async def wait_for_end(
    client: StreamClient, run: StreamRun, timeout_s: float | None
) -> StreamResult:
    """Show a stream until it has ended; outages of Temporal and of the workers are waited out.

    Raises:
        WaitTimedOutError: It goes on after `timeout_s`.
        StreamFailedError: It did not end as a stream ends.
    """
    ended = asyncio.ensure_future(_patient_result(client, run))
    try:
        async with asyncio.timeout(timeout_s), live() as show:
            while not ended.done():
                await _show_status(client, run, show)
                await asyncio.wait([ended], timeout=POLL_INTERVAL_S)
            return await ended
    except TimeoutError as error:
        raise _timed_out(run.name, "to end", timeout_s) from error
    except asyncio.CancelledError:
        _say_goes_on(run.name)
        raise
    finally:
        ended.cancel()


async def wait_for_state(
    client: StreamClient, run: StreamRun, states: Collection[str], timeout_s: float | None
) -> StreamStatus:
    """Show a stream until it is in one of the states. Raises `WaitTimedOutError`."""
    try:
        async with asyncio.timeout(timeout_s), live() as show:
            while True:
                status = await _show_status(client, run, show)
                if status is not None and status.state in states:
                    return status
                await asyncio.sleep(POLL_INTERVAL_S)
    except TimeoutError as error:
        raise _timed_out(run.name, f"to be {' or '.join(states)}", timeout_s) from error
    except asyncio.CancelledError:
        _say_goes_on(run.name)
        raise


async def _patient_result(client: StreamClient, run: StreamRun) -> StreamResult:
    while True:
        try:
            return await client.result(run)
        except ServiceUnavailableError:
            await asyncio.sleep(RETRY_PAUSE_S)


async def _show_status(client: StreamClient, run: StreamRun, show: Show) -> StreamStatus | None:
    try:
        status = await client.status(run)
    except (NoAnswerError, ServiceUnavailableError) as error:
        show(f"{run.name}  waiting   {error}", type(error).__name__)
        return None
    show(live_line(status), f"{status.state} {status.reason}")
    return status


def _say_goes_on(name: str) -> None:
    """Ctrl-C ends the watching only."""
    say(f"{name}  goes on; watch it again with `sluice stream status {name} --wait`")


def _timed_out(name: str, expected: str, timeout_s: float | None) -> WaitTimedOutError:
    return WaitTimedOutError(
        f"stream `{name}`: expected {expected} within {timeout_s:g} s, it goes on; "
        f"watch it again with `sluice stream status {name} --wait`"
    )
