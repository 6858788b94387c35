"""Combines in activities; those cut by key range side by side, taken together as one."""

import asyncio

from temporalio import workflow

from activities import stream_io
from common.names import STREAM_COMPUTE_QUEUE
from pipelines.stream import StreamSpec
from streaming.key_merge import KeyCombineResult, joined, part_of
from streaming.key_range import lanes
from streaming.progress import CombineResult, CombineTask
from streaming.segment import KeySpan
from workflows import policies
from workflows.insistence import Insistence


def may_cut() -> bool:
    """Tell whether this run may begin to cut its state; one that began before it could may not."""
    return workflow.patched("key-ranges")


async def combine_outside(
    spec: StreamSpec, epoch: int, task: CombineTask, insist: Insistence
) -> CombineResult:
    """Merge what is too big for the workflow: in one activity, or in one for some key ranges each.

    The result is there when that of every one is.
    """
    if task.key_ranges == 1:
        work = stream_io.CombineInput(spec=spec, epoch=epoch, task=task)
        return await insist.run(
            "combine", "stream.combine", work, CombineResult,
            policies.COMPUTE, queue=STREAM_COMPUTE_QUEUE,
        )  # fmt: skip

    async def one(span: KeySpan) -> KeyCombineResult:
        work = stream_io.KeyCombineInput(
            spec=spec, epoch=epoch, task=part_of(task, span), keys=span
        )
        return await insist.run(
            f"combine of key ranges {span.first} to {span.stop - 1} of {span.count}",
            "stream.combine_keys", work, KeyCombineResult, policies.COMPUTE,
            queue=STREAM_COMPUTE_QUEUE,
        )  # fmt: skip

    spans = lanes(task.segments, task.key_ranges)
    return joined(await asyncio.gather(*(one(span) for span in spans)))
