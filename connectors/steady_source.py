"""What sources without a cursor have in common: nothing to settle, and no snapshot."""

from contextlib import AbstractAsyncContextManager

from activities.etl_ports import ChunkReader
from batch.chunk import CursorWindow, Settled
from common.errors import SourceRefusedError


class SteadySource:
    """A source whose chunks are pinned one by one.

    Args:
        what: What it is, for messages.
    """

    def __init__(self, what: str) -> None:
        self.what = what

    async def settle(self, wanted: CursorWindow, before: Settled | None) -> Settled:  # noqa: ARG002 (of the port)
        """Give the window back: there is no cursor, so nothing can come later."""
        return Settled(window=wanted)

    def at_one_moment(self) -> AbstractAsyncContextManager[ChunkReader]:
        """Refuse: there is no moment at which all chunks could be read."""
        raise SourceRefusedError(
            f"{self.what}: expected a source with snapshots for `consistency: snapshot`, got one "
            "without; leave it out"
        )
