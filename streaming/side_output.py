"""Records that leave a stream beside its results: in batches, in order, each one once."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from common.payloads import Ref
from streaming.segment import Blob

BATCH_ROWS = 10_000
BATCH_BYTES = 16 * 1024 * 1024
"""One transaction delivers about so much, so that it ends well within its time-out."""

BATCH_INLINE_BYTES = 128 * 1024
"""Of what travels inline, so much goes to one activity."""

SideName = Literal["dead", "late"]


class _Mutable(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", extra="ignore")


class SideBatch(_Mutable):
    """Frozen records of one merged range on their way to a topic.

    Attributes:
        epoch: Epoch of the range; 0 is the stream's, of a batch from before there were rewinds.
    """

    sequence: int
    records: Blob
    epoch: int = 0


class SideOutput(_Mutable):
    """What waits for one topic.

    Attributes:
        sequence: Last batch frozen.
        waiting: Batches not yet delivered, in order.
        upto: Last of those that are being delivered.
    """

    sequence: int = 0
    waiting: list[SideBatch] = []
    upto: int = 0

    def add(self, records: Blob, epoch: int = 0) -> None:
        """Put frozen records at the end."""
        self.sequence += 1
        batch = SideBatch(sequence=self.sequence, records=records, epoch=epoch)
        self.waiting.append(batch)

    def next_batches(self) -> list[SideBatch]:
        """Give what to deliver next, in one transaction of one epoch; empty when nothing waits.

        It is pinned, so that doing it again is doing the same.
        """
        if self.waiting and self.waiting[0].sequence > self.upto:
            rows = size = inline = 0
            for batch in self.waiting:
                records = batch.records
                rows += records.row_count
                size += records.size_bytes
                inline += records.size_bytes if records.ref is None else 0
                full = rows > BATCH_ROWS or size > BATCH_BYTES or inline > BATCH_INLINE_BYTES
                full = full or batch.epoch != self.waiting[0].epoch
                if full and batch is not self.waiting[0]:
                    break
                self.upto = batch.sequence
        return [batch for batch in self.waiting if batch.sequence <= self.upto]

    def take_delivered(self, sequence: int) -> list[Ref]:
        """Note that everything up to a sequence is in the topic; gives the objects let go."""
        done = [batch for batch in self.waiting if batch.sequence <= sequence]
        self.waiting = [batch for batch in self.waiting if batch.sequence > sequence]
        return [batch.records.ref for batch in done if batch.records.ref is not None]
