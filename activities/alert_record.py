"""Alerts as objects created once: `alerts/<name>.json`, then `<name>.ended` when it is over."""

import json
from typing import Any

from activities.alert_io import EndInput, RaiseInput
from common.payloads import Model, ObjectStore
from streaming.alert import pipeline_of

PREFIX = "alerts/"
_OPEN, _ENDED = ".json", ".ended"


class RecordedAlert(Model):
    """An alert as it is recorded; times in milliseconds since the epoch.

    Attributes:
        ended_ms: When the stream went on; None while it has not.
    """

    name: str
    pipeline: str
    what: str
    reason: str
    raised_ms: int
    ended_ms: int | None = None


class AlertRecord:
    """All alerts of an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def add(self, alert: RaiseInput) -> None:
        """Record an alert; twice is once."""
        await self._store.create(f"{PREFIX}{alert.name}{_OPEN}", alert.model_dump_json().encode())

    async def end(self, alert: EndInput) -> None:
        """Record that an alert is over; the first time counts."""
        content = json.dumps({"ended_ms": alert.ended_ms}).encode()
        await self._store.create(f"{PREFIX}{alert.name}{_ENDED}", content)

    async def end_all(self, pipeline: str, ended_ms: int) -> None:
        """End every open alert of a pipeline, which a person has started again."""
        added, ended = await self._names()
        for name in sorted(added - ended):
            if pipeline_of(name) == pipeline:
                await self.end(EndInput(name=name, ended_ms=ended_ms))

    async def newest(self, limit: int) -> list[RecordedAlert]:
        """Give the alerts that were raised last, newest first."""
        added, ended = await self._names()
        found = []
        for name in sorted(added, reverse=True)[:limit]:
            values = await self._read(f"{PREFIX}{name}{_OPEN}")
            if name in ended:
                values |= await self._read(f"{PREFIX}{name}{_ENDED}")
            found.append(RecordedAlert.model_validate(values))
        return found

    async def _names(self) -> tuple[set[str], set[str]]:
        names = [key.removeprefix(PREFIX) for key in await self._store.keys(PREFIX)]
        added = {name.removesuffix(_OPEN) for name in names if name.endswith(_OPEN)}
        return added, {name.removesuffix(_ENDED) for name in names if name.endswith(_ENDED)}

    async def _read(self, key: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(await self._store.read(key) or b"{}")
        return values
