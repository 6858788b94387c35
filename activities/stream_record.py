"""What outlives a workflow: which epochs a stream had, and the states that runs saved.

Immutable objects, created only if absent, below `streams/<name>/`: `epochs/<epoch>.json` claims an
epoch, `saved/<epoch>-<number>.json` is a state, `saved/<epoch>-<number>.taken` says which run went
on from it. The one condition that a store must keep is that an object is created once, so two runs
can never go on from the same state.
"""

import json
from dataclasses import dataclass

from common.errors import FatalError, StateNotSavedError
from common.names import stream_prefix
from common.payloads import ObjectStore


@dataclass(frozen=True)
class SavedState:
    """A state as it was saved."""

    key: str
    epoch: int
    content: bytes


class StreamRecord:
    """The record of one stream in the object store."""

    def __init__(self, store: ObjectStore, pipeline: str) -> None:
        self._store = store
        self._pipeline = pipeline
        self._epochs = f"{stream_prefix(pipeline)}/epochs/"
        self._saved = f"{stream_prefix(pipeline)}/saved/"

    async def highest_epoch(self) -> int:
        """Give the highest epoch ever claimed, 0 if none."""
        keys = await self._store.keys(self._epochs)
        return max((int(_stem(key)) for key in keys), default=0)

    async def claim_epoch(
        self, owner: str, at_least: int, *, fresh: bool, rewound_from: int | None = None
    ) -> int:
        """Claim an epoch above all others and not below `at_least`.

        The same owner gets the same one again. For a rewind, `rewound_from` is the epoch that it
        leaves.

        Raises:
            StateNotSavedError: There was an epoch before, which left no state, and no fresh one was
                asked for.
        """
        while True:
            highest = await self.highest_epoch()
            if highest and await self._owner(highest) == owner:
                return highest
            if highest and not fresh:
                raise self.not_saved()
            epoch = max(highest + 1, at_least)
            claim: dict[str, str | int] = {"owner": owner}
            if rewound_from is not None:
                claim["rewound_from"] = rewound_from
            content = json.dumps(claim).encode()
            if await self._store.create(f"{self._epochs}{epoch:06d}.json", content):
                return epoch

    async def is_last(self, epoch: int) -> bool:
        """Tell whether no run began an epoch after this one.

        What rewinds of this epoch claimed does not count: whoever used it took the saved state
        before, or saved a newer one.
        """
        for key in await self._store.keys(self._epochs):
            if int(_stem(key)) > epoch:
                claim = json.loads(await self._store.read(key) or b"{}")
                if claim.get("rewound_from") != epoch:
                    return False
        return True

    async def _owner(self, epoch: int) -> str:
        content = await self._store.read(f"{self._epochs}{epoch:06d}.json")
        return str(json.loads(content)["owner"]) if content else ""

    async def latest(self) -> SavedState | None:
        """Give the state that was saved last; None when no run ever saved one."""
        keys = [k for k in await self._store.keys(self._saved) if k.endswith(".json")]
        if not keys:
            return None
        key = max(keys)
        content = await self._store.read(key)
        return SavedState(key, int(_stem(key).split("-")[0]), content or b"")

    async def resumable(self) -> list[bytes]:
        """Give every state that a run may still go on from.

        The latest is among them though a run has taken it: what it read may not show elsewhere yet.
        """
        keys = await self._store.keys(self._saved)
        taken = {key.removesuffix(".taken") for key in keys if key.endswith(".taken")}
        states = [key for key in keys if key.endswith(".json")]
        wanted = [k for k in states if k.removesuffix(".json") not in taken or k == states[-1]]
        return [await self._store.read(key) or b"" for key in wanted]

    async def is_waiting(self) -> bool:
        """Tell whether a state waits for the next start, so that no run goes on anywhere."""
        saved = await self.latest()
        if saved is None or saved.epoch != await self.highest_epoch():
            return False
        return await self._store.read(saved.key.removesuffix(".json") + ".taken") is None

    async def take(self, saved: SavedState, owner: str) -> None:
        """Make sure that only one run goes on from a state.

        Raises:
            StateNotSavedError: Another run did, and ended without saving.
        """
        key = saved.key.removesuffix(".json") + ".taken"
        if await self._store.create(key, owner.encode()):
            return
        taker = (await self._store.read(key) or b"").decode()
        if taker != owner:
            raise self.not_saved()

    async def save(self, epoch: int, owner: str, content: bytes) -> None:
        """Save a state; the same owner saves once."""
        keys = await self._store.keys(self._saved)
        numbers = [_stem(k).split("-") for k in keys if k.endswith(".json")]
        last = max((int(n[1]) for n in numbers if int(n[0]) == epoch), default=0)
        if last and await self._store.read(f"{self._saved}{epoch:06d}-{last:06d}.json") == content:
            return
        key = f"{self._saved}{epoch:06d}-{last + 1:06d}.json"
        if not await self._store.create(key, content):
            raise FatalError(
                f"state of stream `{self._pipeline}`: expected to save {key} alone, got another "
                f"writer ({owner}); look for a second run of this stream"
            )

    def not_saved(self) -> StateNotSavedError:
        """Say that there is nothing to go on from."""
        return StateNotSavedError(
            f"stream `{self._pipeline}`: expected the state that its last run saved, got none, "
            "that run was terminated or failed; start with `--fresh` to compute everything again"
        )


def _stem(key: str) -> str:
    return key.rsplit("/", 1)[-1].split(".", 1)[0]
