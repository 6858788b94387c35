"""Tell people that a stream waits for one of them."""

from typing import Protocol

from temporalio import activity

from activities.alert_io import EndInput, RaiseInput
from activities.alert_record import AlertRecord
from activities.heartbeat import with_heartbeats
from activities.stream_io import Done
from common.payloads import ObjectStore


class Webhook(Protocol):
    """Somebody else's address that takes alerts."""

    async def post(self, content: bytes) -> None:
        """Send one JSON document; any failure is a `RetryableError`."""
        ...


class AlertActivities:
    """Alerts in the object store and at the webhook, if there is one."""

    def __init__(self, store: ObjectStore, webhook: Webhook | None) -> None:
        self._record = AlertRecord(store)
        self._webhook = webhook

    @activity.defn(name="alert.raise")
    @with_heartbeats
    async def raise_alert(self, task: RaiseInput) -> Done:
        """Record an alert; gives 1 if a webhook wants to hear of it."""
        await self._record.add(task)
        return Done(count=int(self._webhook is not None))

    @activity.defn(name="alert.post")
    @with_heartbeats
    async def tell(self, task: RaiseInput) -> Done:
        """Tell the webhook; one that was taken away meanwhile needs none."""
        if self._webhook is None:
            return Done()
        await self._webhook.post(task.model_dump_json().encode())
        return Done(count=1)

    @activity.defn(name="alert.end")
    @with_heartbeats
    async def end(self, task: EndInput) -> Done:
        """Record that an alert is over."""
        await self._record.end(task)
        return Done(count=1)
