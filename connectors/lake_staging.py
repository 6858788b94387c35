"""Staging of a batch in the lake: files lie where they stay, and records say whose they are.

    <path>/<day>/r0000000007-c000003-<token>-000.parquet    rows; nobody reads them yet
    <path>/_stage/<slot>/r0000000007-<run>/open             the run may stage
    …/c000003-<token>/<day>/000                             made before the file of that name
    …/c000003-<token>.json                                  made after the last file: all of them
    …/fate                                                  `publish` or `discard`: first come

Publishing and cleaning up both ask for the fate first. One of them gets it, so no file is deleted
that a manifest may still name.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Literal

from activities.etl_ports import BatchTable
from common.errors import SinkRefusedError
from connectors.batch_rows import staging_gone
from connectors.lake_manifest import LakeFile, Manifest, append_link, read_chain
from connectors.object_store import ObstoreStore

Fate = Literal["publish", "discard"]

_RUN = re.compile(r"/_stage/[^/]+/r(\d{10,})-[^/]+/")
_MADE = re.compile(r"/r(\d{10,})-[^/]+/c(\d{6,})-([0-9a-f]+)/([^/]+)/(\d{3,})$")


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def slot_folder(table: BatchTable) -> str:
    """Name the folder of staging of every run of this pipeline and slot."""
    return f"{table.name}/_stage/{_short(table.pipeline, table.slot)}"


def run_folder(table: BatchTable) -> str:
    """Name the folder of staging of this run."""
    return f"{slot_folder(table)}/r{table.run:010d}-{_short(table.run_id)}"


def file_name(table: BatchTable, chunk: int, token: str, day: str, part: int) -> str:
    """Name a file below the path."""
    return f"{day}/r{table.run:010d}-c{chunk:06d}-{_short(table.run_id, token)}-{part:03d}.parquet"


def made_name(table: BatchTable, chunk: int, token: str, day: str, part: int) -> str:
    """Name the record that stands for a file before it is made."""
    attempt = f"c{chunk:06d}-{_short(table.run_id, token)}"
    return f"{run_folder(table)}/{attempt}/{day}/{part:03d}"


def record_name(table: BatchTable, chunk: int, token: str) -> str:
    """Name the record of a finished attempt."""
    return f"{run_folder(table)}/c{chunk:06d}-{_short(table.run_id, token)}.json"


def _file_of(path: str, made: str) -> str | None:
    found = _MADE.search(made)
    if found is None:
        return None
    run, chunk, token, day, part = found.groups()
    return f"{path}/{day}/r{run}-c{chunk}-{token}-{part}.parquet"


class LakeStaging:
    """What is staged for one target.

    Args:
        table: The target, and the run that asks.
    """

    def __init__(self, store: ObstoreStore, table: BatchTable) -> None:
        self._store = store
        self._table = table

    async def open(self) -> None:
        """Clean up after older runs of the slot, and allow this run to stage."""
        for folder in await self._older():
            await self._clean(folder)
        content = {
            "pipeline": self._table.pipeline,
            "slot": self._table.slot,
            "run": self._table.run,
            "run_id": self._table.run_id,
        }
        key = f"{run_folder(self._table)}/open"
        await self._store.create(key, json.dumps(content, ensure_ascii=False).encode())

    async def require_open(self) -> None:
        """Refuse an attempt of a run that was cleaned up.

        Raises:
            SinkRefusedError: It was.
        """
        folder = run_folder(self._table)
        if (
            await self._store.read(f"{folder}/open") is None
            or await self._store.read(f"{folder}/fate") == b"discard"
        ):
            raise staging_gone(self._table, "to be open")

    async def records(self, tokens: Mapping[int, str]) -> dict[int, list[LakeFile] | None]:
        """Read the files of the attempts that are named, by chunk; None is gone."""
        found: dict[int, list[LakeFile] | None] = {}
        for chunk, token in sorted(tokens.items()):
            content = await self._store.read(record_name(self._table, chunk, token))
            found[chunk] = (
                None
                if content is None
                else [LakeFile.model_validate(file) for file in json.loads(content)["files"]]
            )
        return found

    async def accepted(self, tokens: Mapping[int, str]) -> list[LakeFile]:
        """Give the files of the attempts that are named.

        Raises:
            SinkRefusedError: One is gone.
        """
        files: list[LakeFile] = []
        for chunk, found in (await self.records(tokens)).items():
            if found is None:
                raise staging_gone(self._table, f"chunk {chunk}")
            files += found
        return files

    async def claim(self, tokens: Mapping[int, str]) -> list[LakeFile]:
        """Settle that the run is published, and give its files.

        Raises:
            SinkRefusedError: It was cleaned up.
        """
        if await _settle(self._store, run_folder(self._table), "publish") == "discard":
            raise staging_gone(self._table, "to be published")
        try:
            return await self.accepted(tokens)
        except SinkRefusedError:
            await self._store.delete([f"{run_folder(self._table)}/fate"])
            raise

    async def discard(self) -> None:
        """Remove what this run staged and did not publish."""
        await self._clean(run_folder(self._table))

    async def forget(self, chunk: int, token: str) -> None:
        """Remove what one attempt of this run made."""
        folder = record_name(self._table, chunk, token).removesuffix(".json")
        made = await self._store.keys(folder)
        await self._remove(made)
        await self._store.delete([*made, f"{folder}.json"])

    async def _older(self) -> list[str]:
        folders = set()
        for key in await self._store.keys(slot_folder(self._table)):
            found = _RUN.search(key)
            if found and int(found.group(1)) < self._table.run:
                folders.add(key[: found.end() - 1])
        return sorted(folders)

    async def _clean(self, folder: str) -> None:
        """Remove the staging of a run; files that it published stay.

        What says whose the files are goes last, so a cleaning that was killed is done again.
        """
        keys = await self._store.keys(folder)
        if not keys:
            return
        if await _settle(self._store, folder, "discard") == "publish":
            await self._give_up(folder)
        opened, fate = f"{folder}/open", f"{folder}/fate"
        keys = [key for key in await self._store.keys(folder) if key not in (opened, fate)]
        await self._remove(keys)
        await self._store.delete(keys)
        await self._store.delete([opened])
        await self._store.delete([fate])

    async def _remove(self, made: list[str]) -> None:
        """Remove the files that records stand for, unless a manifest names them."""
        files = {file for key in made if (file := _file_of(self._table.name, key))}
        if files:
            chain = await read_chain(self._store, self._table.name)
            files -= {f"{self._table.name}/{file}" for file in chain.files()}
        await self._store.delete(sorted(files))

    async def _give_up(self, folder: str) -> None:
        """See to it that a run that has not published by now never does."""
        content = await self._store.read(f"{folder}/open")
        if content is None:
            return
        run = json.loads(content)
        while True:
            chain = await read_chain(self._store, self._table.name)
            if chain.holds(run["run_id"]) or chain.given_up(run["run_id"]):
                return
            link = Manifest(kind="given up", mode=self._table.mode, **run)
            if await append_link(self._store, self._table.name, chain, link):
                return


async def _settle(store: ObstoreStore, folder: str, wanted: Fate) -> str:
    """Decide what becomes of a run, unless it is decided; gives the decision."""
    key = f"{folder}/fate"
    if await store.create(key, wanted.encode()):
        return wanted
    return (await store.read(key) or b"discard").decode()
