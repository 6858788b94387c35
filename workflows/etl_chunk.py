"""The chunks of a run on their way: so many at once, each through its stages."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import workflow

from activities import etl_io as io
from common.names import ETL_COMPUTE_QUEUE
from workflows import policies
from workflows.etl_input import EtlInput, EtlProgress
from workflows.insistence import Insistence

HISTORY_BYTES = 8_000_000

Unpaused = Callable[[], Awaitable[None]]


class ChunkPipeline:
    """Extracts, transforms and stages the chunks of one run."""

    def __init__(
        self,
        task: EtlInput,
        name: io.RunName,
        opened: io.EtlOpened,
        progress: EtlProgress,
        insist: Insistence,
    ) -> None:
        self._task, self._name, self._opened = task, name, opened
        self._progress = progress
        self._insist = insist

    async def run(
        self, unpaused: Unpaused, unpaused_late: Unpaused, moved: Callable[[EtlProgress], None]
    ) -> EtlProgress:
        """Take every chunk as far as it goes by itself.

        With a long history it goes on in a new run of the workflow once no chunk is under way; a
        pause is waited out before it, as the new run would not know of it.
        """
        count = self._progress.chunk_count or 0

        async def one(chunk: int) -> None:
            await self._prepare(chunk, unpaused, moved)

        while self._progress.next_chunk < count:
            first = self._progress.next_chunk
            stopped_at = await self._each(range(first, count), one)
            self._progress = self._progress.model_copy(update={"next_chunk": stopped_at})
            moved(self._progress)
            if stopped_at < count:
                await unpaused_late()
                workflow.continue_as_new(self._task.model_copy(update={"carried": self._progress}))
        if self._opened.grouped and self._progress.grouped_count is None:
            await unpaused()
            await self._group()
            moved(self._progress)
        return self._progress

    async def stage(self, unpaused: Unpaused) -> None:
        """Stage every chunk in every target; what is staged already is found there."""
        grouped = self._progress.grouped_count
        count = grouped if grouped is not None else self._progress.chunk_count or 0

        async def one(chunk: int) -> None:
            await unpaused()
            await self._stage(chunk)

        await self._each(range(count), one, may_stop=False)

    async def _prepare(
        self, chunk: int, unpaused: Unpaused, moved: Callable[[EtlProgress], None]
    ) -> None:
        work = io.ChunkInput(name=self._name, chunk=chunk)
        await unpaused()
        landed = await self._do("extracting", "etl.extract_chunk", work, chunk)
        self._count(moved, extracted_rows=landed.rows)
        await unpaused()
        clean = await self._do("transforming", "etl.transform_chunk", work, chunk)
        if not self._opened.drops and not self._opened.grouped:
            await unpaused()
            await self._stage(chunk)
        ledger = self._progress.ledger.sum(clean.ledger)
        self._progress = self._progress.model_copy(update={"ledger": ledger})
        self._count(moved, done=1)

    async def _stage(self, chunk: int) -> None:
        works = [
            io.StageInput(name=self._name, chunk=chunk, target=place)
            for place in range(len(self._opened.targets))
        ]
        await _all(
            [
                self._do(f"staging in {name}", "etl.stage_chunk", work, chunk)
                for name, work in zip(self._opened.targets, works, strict=True)
            ]
        )

    async def _group(self) -> None:
        """Put the groups of all chunks together."""
        work = io.AuditInput(name=self._name, chunk_count=self._progress.chunk_count or 0)
        grouped = await self._insist.run(
            "grouping", "etl.group", work, io.Grouped, policies.AUDIT,
            queue=ETL_COMPUTE_QUEUE, fatal_ends=True,
        )  # fmt: skip
        self._progress = self._progress.model_copy(
            update={"grouped_count": grouped.chunk_count, "ledger": grouped.ledger}
        )

    async def _do(
        self, what: str, name: str, work: io.ChunkInput | io.StageInput, chunk: int
    ) -> io.ChunkCounts:
        return await self._insist.run(
            f"{what} chunk {chunk}", name, work, io.ChunkCounts, policies.CHUNK,
            queue=ETL_COMPUTE_QUEUE, fatal_ends=True,
        )  # fmt: skip

    def _count(self, moved: Callable[[EtlProgress], None], **more: int) -> None:
        sums = {name: getattr(self._progress, name) + value for name, value in more.items()}
        self._progress = self._progress.model_copy(update=sums)
        moved(self._progress)

    async def _each(
        self, chunks: range, one: Callable[[int], Awaitable[None]], *, may_stop: bool = True
    ) -> int:
        """Work on chunks in their order, so many at once; gives the first that was not begun."""
        running: list[asyncio.Task[None]] = []
        chunk = chunks.start
        try:
            while chunk < chunks.stop or running:
                room = len(running) < self._task.spec.limits.parallelism
                if chunk < chunks.stop and room and not (may_stop and self._history_is_long()):
                    running.append(asyncio.create_task(_awaited(one(chunk))))
                    chunk += 1
                    continue
                if not running:
                    break
                await workflow.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in [task for task in running if task.done()]:
                    running.remove(task)
                    task.result()
        except GeneratorExit:  # the worker forgets the workflow; nothing can be awaited
            raise
        except BaseException:
            self._insist.given_up = True
            await _give_up(running)
            raise
        return chunk

    def _history_is_long(self) -> bool:
        info = workflow.info()
        events, size = info.get_current_history_length(), info.get_current_history_size()
        return events > self._task.history_events or size > HISTORY_BYTES


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def _all(works: list[Awaitable[io.ChunkCounts]]) -> None:
    """Do all at once; the first failure gives up the others."""
    tasks = [asyncio.create_task(_counted(work)) for work in works]
    try:
        for task in tasks:
            await task
    except GeneratorExit:  # as above
        raise
    except BaseException:
        await _give_up([task for task in tasks if not task.done()])
        raise


async def _counted(work: Awaitable[io.ChunkCounts]) -> None:
    await work


async def _give_up(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await workflow.wait(tasks)
