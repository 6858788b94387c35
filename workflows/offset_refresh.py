"""A sink's committed version, committed again once a day so that its broker does not forget it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio import workflow

from activities import stream_io
from pipelines.stream import SinkSpec, StreamSpec
from streaming.state import SinkCursor, StreamState
from workflows import clock, policies
from workflows.insistence import Insistence

REFRESH_EVERY_MS = 86_400_000
"""Brokers forget a group that is quiet for seven days, unless they are told otherwise."""

_ENDING = ("draining", "stopping")


class OffsetRefresh:
    """Refreshes of one sink, made by the pump that writes its flushes and so never beside a write.

    Only a Kafka sink has something to refresh.
    """

    def __init__(self, sink: SinkSpec, state: StreamState, cursor: SinkCursor) -> None:
        self._sink = sink
        self._state = state
        self._cursor = cursor
        self._wanted = sink.kind == "kafka" and workflow.patched("refresh-kafka-offset")
        if cursor.kept_ms is None or workflow.info().continued_run_id is None:
            self.note()  # opening has just committed it

    def note(self) -> None:
        """Note that the version was committed just now."""
        if self._wanted:
            self._cursor.kept_ms = clock.now_ms()

    @property
    def due(self) -> bool:
        """Whether the sink was not written for a day; never while the run ends."""
        return self._wanted and self._left_ms() <= 0 and self._state.mode not in _ENDING

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Keep a timer for as long as the pump runs, one at a time, so that `due` is looked at."""
        clock = asyncio.create_task(self._tick()) if self._wanted else None
        try:
            yield
        finally:
            if clock is not None:
                clock.cancel()

    async def run(self, spec: StreamSpec, insist: Insistence) -> None:
        """Refresh until it succeeds."""
        work = stream_io.RefreshInput(
            spec=spec, epoch=self._state.epoch, sink=self._sink, flush_seq=self._cursor.done
        )
        await insist.run(
            self._sink.name, "sink.refresh_offset", work, stream_io.Done, policies.SINK_WRITE
        )  # fmt: skip
        self.note()

    async def _tick(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self._left_ms() > 0)
            await workflow.sleep(timedelta(milliseconds=self._left_ms()))

    def _left_ms(self) -> int:
        return (self._cursor.kept_ms or 0) + REFRESH_EVERY_MS - clock.now_ms()
