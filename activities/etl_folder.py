"""The folder of one run in the object store: everything in it is created once."""

from typing import TypeVar

from common.errors import FatalError
from common.names import etl_run_prefix
from common.payloads import Model, ObjectStore

M = TypeVar("M", bound=Model)


class RunFolder:
    """What one run keeps, by name; whoever keeps something first decides what it is.

    So an attempt that was given up and ends late finds what another attempt kept, and its own work
    counts for nothing.
    """

    def __init__(self, store: ObjectStore, pipeline: str, run: int) -> None:
        self._store = store
        self.pipeline, self.run = pipeline, run
        self.prefix = etl_run_prefix(pipeline, run)

    async def keep(self, name: str, value: M) -> M:
        """Keep a value unless there is one; gives the one that is kept."""
        key = f"{self.prefix}/{name}.json"
        if await self._store.create(key, value.model_dump_json().encode()):
            return value
        return await self.need(name, type(value))

    async def find(self, name: str, kind: type[M]) -> M | None:
        """Give what is kept under a name; None when there is nothing."""
        content = await self._store.read(f"{self.prefix}/{name}.json")
        return None if content is None else kind.model_validate_json(content)

    async def need(self, name: str, kind: type[M]) -> M:
        """Give what must be kept under a name.

        Raises:
            FatalError: It is gone.
        """
        found = await self.find(name, kind)
        if found is None:
            raise FatalError(
                f"run {self.run} of `{self.pipeline}`: expected `{self.prefix}/{name}.json`, got "
                "no object; the run was cleaned up while it went on: run the interval again"
            )
        return found

    async def all(self, folder: str, kind: type[M], count: int) -> list[M]:
        """Give what is kept for each of `count` chunks, in order."""
        return [await self.need(f"{folder}/{number:05d}", kind) for number in range(count)]

    async def remove(self) -> None:
        """Delete the folder."""
        await self._store.delete(await self._store.keys(f"{self.prefix}/"))
