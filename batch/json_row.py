"""Rows of JSON texts, by the decoder of streams: exact, and each text is one row."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from batch.read_row import BadRow, ReadRows, check_kinds, typed_rows, whole_text
from contracts.field_type import FieldType
from streaming.decode import OFFSET, RecordDecoder
from streaming.record_block import RecordBlock

Bytes = npt.NDArray[np.uint8]
_LF = 10
_BLANKS = b" \t\r"


class JsonRows:
    """Reads records of JSON objects.

    Args:
        source: What is read, for messages.
        kinds: Wanted fields with their types.
        zone: Zone of times without one; None refuses them.

    Raises:
        SourceRefusedError: A type cannot be read from JSON.
    """

    def __init__(
        self, source: str, kinds: Mapping[str, FieldType], zone: str | None = None
    ) -> None:
        check_kinds(kinds, source)
        self._kinds = dict(kinds)
        self._zone = zone
        self._texts = {
            name: kind
            for name, kind in kinds.items()
            if kind.base == "timestamp" and (kind.precision is not None or zone is not None)
        }
        decoded = {
            name: replace(kind, base="string", precision=None) if name in self._texts else kind
            for name, kind in kinds.items()
        }
        self._decoder = RecordDecoder(decoded, set(decoded))

    def read(self, block: RecordBlock, place: Callable[[int], str]) -> ReadRows:
        """Read the records of a block.

        Args:
            block: The records.
            place: Says where a record is, for people.
        """

        def content(row: int) -> str:
            return whole_text(block.value(row) or b"")

        decoded = self._decoder.decode(block, 0)
        bad = [
            BadRow(
                dead.row,
                dead.error_field,
                f"{self._as_declared(dead.error, dead.error_field)} ({place(dead.row)})",
                content(dead.row),
            )
            for dead in decoded.dead
        ]
        rows = decoded.rows.select(list(self._kinds))
        if self._texts:
            place_of = np.searchsorted(block.offset, decoded.rows[OFFSET].to_numpy())
            read = typed_rows(
                {name: rows[name] for name in rows.columns},
                len(rows),
                self._kinds,
                self._zone,
                lambda row: content(int(place_of[row])),
                lambda row: place(int(place_of[row])),
            )
            rows = read.rows
            bad += [replace(one, row=int(place_of[one.row])) for one in read.bad]
            bad.sort(key=lambda one: one.row)
        return ReadRows(rows, bad)

    def _as_declared(self, error: str, field: str) -> str:
        """Speak of times where the decoder was told to read texts."""
        if field not in self._texts:
            return error
        time = "an ISO 8601 time"
        return error.replace(" be text", f" be {time}").replace("expected text", f"expected {time}")


def line_spans(text: Bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the lines of a text that hold more than blanks.

    Args:
        text: uint8, begins with a line; its end ends one, too.

    Returns:
        int64 (n) first byte and int64 (n) length of each line, without its line feed.
    """
    end = np.flatnonzero(text == _LF)
    if len(text) and (not len(end) or end[-1] != len(text) - 1):
        end = np.append(end, len(text))
    start = np.concatenate([[0], end[:-1] + 1]).astype(np.int64) if len(end) else end
    size = end - start
    short = np.flatnonzero(size < 16)
    blank = [row for row in short.tolist() if not _has_text(text, int(start[row]), int(end[row]))]
    return np.delete(start, blank), np.delete(size, blank)


def _has_text(text: Bytes, start: int, end: int) -> bool:
    return bool(text[start:end].tobytes().strip(_BLANKS))
