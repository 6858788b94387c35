"""What the Kafka sink commits beside its version, as the metadata of an offset."""

import base64
import json
import zlib
from dataclasses import dataclass

from connectors.kafka_sink import Position
from pipelines.stream import EPOCH_BITS


@dataclass(frozen=True)
class Mark:
    """What stands beside the committed version: owner, columns, and which chunk was the last.

    Attributes:
        chunk: Number of the chunk, -1 before the first of the flush.
        sha256: Hash of the frozen rows of the flush; empty when not known.
        columns: `column_texts` of the table.
    """

    version: int
    stream: str
    identity: tuple[str, ...]
    columns: dict[str, str]
    chunk: int = -1
    sha256: str = ""

    @property
    def epoch(self) -> int:
        """Epoch of the stream that wrote last."""
        return self.version >> EPOCH_BITS

    def position(self) -> Position:
        """Write it as an offset and its metadata; the columns are packed, for the limit."""
        columns = json.dumps([self.identity, self.columns], ensure_ascii=False)
        packed = base64.b85encode(zlib.compress(columns.encode(), 9)).decode()
        note = {
            "stream": self.stream,
            "chunk": self.chunk,
            "sha256": self.sha256,
            "columns": packed,
        }
        return Position(self.version, json.dumps(note, ensure_ascii=False))

    @classmethod
    def of(cls, position: Position) -> "Mark":
        """Read what `position` wrote."""
        note = json.loads(position.note)
        identity, columns = json.loads(zlib.decompress(base64.b85decode(note["columns"])))
        return cls(
            position.sequence,
            note["stream"],
            tuple(identity),
            columns,
            note["chunk"],
            note["sha256"],
        )
