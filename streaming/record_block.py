"""Records as they lie in a fetched buffer, described by columns."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RecordBlock:
    """A run of records of one partition in offset order; values and keys are slices of one buffer.

    All arrays but `buffer` have length n, the number of records.

    Attributes:
        topic: Name of the topic.
        partition: Number of the partition.
        buffer: uint8, the bytes that `value_start` and `key_start` point into.
        offset: int64, log offset of each record, strictly ascending; gaps are normal.
        timestamp_ms: int64, the record's own timestamp, milliseconds since the epoch.
        value_start: int64, first byte of the value.
        value_size: int32, length of the value; -1 is null.
        key_start: int64, first byte of the key.
        key_size: int32, length of the key; -1 is null.
        log_append_time: Whether `timestamp_ms` was set by the broker.
    """

    topic: str
    partition: int
    buffer: npt.NDArray[np.uint8]
    offset: npt.NDArray[np.int64]
    timestamp_ms: npt.NDArray[np.int64]
    value_start: npt.NDArray[np.int64]
    value_size: npt.NDArray[np.int32]
    key_start: npt.NDArray[np.int64]
    key_size: npt.NDArray[np.int32]
    log_append_time: bool = False

    def __len__(self) -> int:
        """Count the records."""
        return len(self.offset)

    def before(self, stop: int) -> "RecordBlock":
        """Give the records before an offset, in the same buffer."""
        n = int(np.searchsorted(self.offset, stop))
        return replace(
            self,
            offset=self.offset[:n],
            timestamp_ms=self.timestamp_ms[:n],
            value_start=self.value_start[:n],
            value_size=self.value_size[:n],
            key_start=self.key_start[:n],
            key_size=self.key_size[:n],
        )

    def value(self, row: int) -> bytes | None:
        """Copy one value out of the buffer."""
        size = int(self.value_size[row])
        start = int(self.value_start[row])
        return None if size < 0 else self.buffer[start : start + size].tobytes()

    def key(self, row: int) -> bytes | None:
        """Copy one key out of the buffer."""
        size = int(self.key_size[row])
        start = int(self.key_start[row])
        return None if size < 0 else self.buffer[start : start + size].tobytes()
