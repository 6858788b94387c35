"""The chain of a batch's publications in the lake: objects that are created once, in order.

    <path>/_manifest/0000000001.json    what run 1 published, or that a run was given up

A link is created only if there is none of its number, after all before it were read: of two writers
one reads again. So a run that another one superseded, or that was given up, never gets in.
"""

import asyncio
from collections.abc import Sequence
from typing import Literal

from common.errors import FatalError
from common.payloads import Model
from connectors.object_store import ObstoreStore

_READS_AT_ONCE = 16


class LakeFile(Model):
    """A Parquet file: where it lies below the path, and what is in it."""

    file: str
    rows: int
    bytes: int
    sha256: str


class Manifest(Model):
    """One link of the chain.

    Attributes:
        kind: Whether the run published its rows, or was given up before it did.
        moment_us: Dates rows of `scd2` that have no cursor.
        columns: Columns with their types, in order.
    """

    kind: Literal["published", "given up"] = "published"
    pipeline: str
    slot: str
    run: int
    run_id: str
    mode: str
    key: list[str] = []
    cursor: str | None = None
    moment_us: int = 0
    columns: dict[str, str] = {}
    rows: int = 0
    files: list[LakeFile] = []


class Chain:
    """All links of a path, in order."""

    def __init__(self, links: Sequence[Manifest]) -> None:
        self.links = links
        self.published = [link for link in links if link.kind == "published"]

    def last_run(self, slot: str) -> int:
        """Give the newest run that published a slot; -1 is none."""
        return max((link.run for link in self.published if link.slot == slot), default=-1)

    def live(self) -> list[Manifest]:
        """Keep of each slot the newest run, in the order of publication."""
        return [link for link in self.published if link.run == self.last_run(link.slot)]

    def given_up(self, run_id: str) -> bool:
        """Tell whether a run may not publish any more."""
        return any(link.run_id == run_id and link.kind == "given up" for link in self.links)

    def holds(self, run_id: str) -> bool:
        """Tell whether a run has published."""
        return any(link.run_id == run_id for link in self.published)

    def files(self) -> set[str]:
        """List the files that any publication names."""
        return {file.file for link in self.published for file in link.files}

    def columns(self) -> dict[str, str]:
        """List the columns that any publication had, in the order in which they came."""
        found: dict[str, str] = {}
        for link in self.published:
            found |= {name: kind for name, kind in link.columns.items() if name not in found}
        return found


async def read_chain(store: ObstoreStore, path: str) -> Chain:
    """Read all links."""
    turns = asyncio.Semaphore(_READS_AT_ONCE)

    async def read(key: str) -> Manifest:
        async with turns:
            content = await store.read(key)
        if content is None:
            raise FatalError(
                f"object `{key}` in {store.url}: expected a manifest, got no object; it was "
                "deleted, restore it from a copy"
            )
        return Manifest.model_validate_json(content)

    keys = await store.keys(f"{path}/_manifest")
    return Chain(await asyncio.gather(*(read(key) for key in keys)))


async def append_link(store: ObstoreStore, path: str, chain: Chain, link: Manifest) -> bool:
    """Create the link after those that were read; False when there is another by now."""
    key = f"{path}/_manifest/{len(chain.links) + 1:010d}.json"
    return await store.create(key, link.model_dump_json(indent=1).encode())
