"""News of the log while a stream has read all that it knows of, or lets a rest wait."""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow

from activities import stream_io
from pipelines.stream import EventTime
from streaming import watermark
from streaming.quiet import quiet_check_ms
from streaming.state import StreamState
from workflows import clock, policies
from workflows.insistence import Insistence

POLL_MS = 10_000

LOOK = timedelta(milliseconds=POLL_MS)
"""While a rest waits for the trigger's interval, the log is looked at once in so long: what has
come meanwhile may be enough for a whole range."""


async def watch_log(
    state: StreamState,
    event_time: EventTime,
    insist: Insistence,
    wanted: Callable[[], bool],
    rests: Callable[[], bool],
    on_ends: Callable[[dict[int, int], int], None],
    abandoned: Callable[[], bool],
) -> None:
    """Wait for news whenever it is wanted, with one long poll after the other.

    While a rest waits for the trigger's interval, it is a short look now and then.

    Args:
        state: The stream's state.
        event_time: Gives the idle timeout and `close_after`, which a poll's end can confirm.
        insist: Runs a poll until it succeeds.
        wanted: Whether all that is known of the log is planned and more may be read.
        rests: Whether what is known of the log waits for the trigger's interval for longer than a
            poll.
        on_ends: Called with the ends of all partitions and the workflow time, in milliseconds, at
            which they were asked for.
        abandoned: Tells whether this watch was given up; another one may be on.
    """
    looks = workflow.patched("look-while-resting")
    while not insist.given_up and not abandoned():
        await workflow.wait_condition(lambda: wanted() or (looks and rests()))
        if not wanted() and not await _rested(lambda: wanted() or not rests()):
            continue
        asked_ms = clock.now_ms()
        most_ms = quiet_check_ms(state, event_time, asked_ms, POLL_MS) if wanted() else 0
        work = stream_io.WaitInput(
            topic=state.topic,
            topic_id=state.topic_id,
            cursors={n: p.planned for n, p in state.partitions.items() if p.planned != p.until},
            others=not state.bounded,
            timeout_ms=watermark.idle_check_ms(state, event_time, asked_ms, most_ms),
        )
        result = await insist.run(
            "waiting for records", "stream.wait_for_data", work, stream_io.WaitResult,
            policies.LONG_POLL, abandoned=abandoned,
        )  # fmt: skip
        if abandoned():
            return
        on_ends(result.ends, asked_ms)


async def _rested(ended: Callable[[], bool]) -> bool:
    """Wait for the next look; tells whether the rest goes on."""
    try:
        await workflow.wait_condition(ended, timeout=LOOK)
    except TimeoutError:
        return True
    return False
