"""Delivery of a stream's side outputs: dead letters to their topic, late events where wanted."""

from collections.abc import Callable

from temporalio import workflow

from activities.stream_io import Done, SideOutputInput
from pipelines.stream import StreamSpec
from streaming import progress
from streaming.side_output import SideName
from streaming.state import StreamState
from workflows import policies
from workflows.insistence import Insistence

_DELIVERY: dict[SideName, tuple[str, str]] = {
    "dead": ("dead letters", "stream.deliver_dead_letters"),
    "late": ("late events", "stream.deliver_late_events"),
}
"""What each is called in the status, and the activity that delivers it."""


def side_outputs(spec: StreamSpec) -> list[SideName]:
    """Name the side outputs that a stream has; late events only if somebody wants them."""
    return ["dead", "late"] if spec.keeps_late else ["dead"]


async def pump(
    name: SideName,
    spec: StreamSpec,
    state: StreamState,
    insist: Insistence,
    on_delivered: Callable[[], None],
) -> None:
    """Deliver what waits, in order, until the workflow gives up what runs.

    Args:
        name: Which side output.
        spec: The stream.
        state: Its state; what was delivered is taken out.
        insist: Runs the delivery until it succeeds.
        on_delivered: Called after every delivery.
    """
    what, activity = _DELIVERY[name]
    output = state.side_output(name)
    while not insist.given_up:
        await workflow.wait_condition(lambda: bool(output.waiting))
        batch = output.next_batches()
        work = SideOutputInput(
            pipeline=state.pipeline,
            topic=state.topic,
            epoch=batch[0].epoch or state.epoch,
            batch=batch,
            to=spec.late.to or "",
            table=spec.late_table,
        )
        await insist.run(what, activity, work, Done, policies.SINK_WRITE)
        progress.take_delivered(state, name, batch[-1].sequence)
        on_delivered()
