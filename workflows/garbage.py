"""Objects that a stream no longer needs, released in batches."""

from activities import stream_io
from streaming.state import StreamState
from workflows import policies
from workflows.insistence import Insistence

BATCH = 64
MOST = 128
"""References in one payload."""


class GarbageRelease:
    """One release at a time.

    Attributes:
        bounded: Whether one releases no more than `MOST`; runs from before there was a bound do.
    """

    def __init__(self) -> None:
        self.bounded = False
        self._running = False

    def due(self, state: StreamState) -> bool:
        """Tell whether enough has gathered; the caller then starts `release`."""
        if self._running or len(state.garbage) < BATCH:
            return False
        self._running = True
        return True

    async def release(self, state: StreamState, insist: Insistence) -> None:
        """Delete what has gathered so far, of many a part, and take it out of the state."""
        refs = state.garbage[:MOST] if self.bounded else list(state.garbage)
        work = stream_io.ReleaseInput(refs=refs)
        await insist.run("release", "stream.release", work, stream_io.Done, policies.BOOKKEEPING)
        del state.garbage[: len(refs)]
        self._running = False


def leave_to_sweep(state: StreamState) -> None:
    """Forget what is too much to carry along; a sweep finds that nothing needs it."""
    del state.garbage[MOST:]
