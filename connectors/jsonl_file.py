"""Files of JSON lines, cut at line ends."""

import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from batch.json_row import JsonRows, line_spans
from batch.read_row import ReadRows, record_block
from connectors.csv_file import PACKED_ROW_BYTES
from connectors.file_format import Span
from connectors.file_place import PinnedFile
from connectors.file_text import (
    Bytes,
    compression_of,
    decompressed,
    skip_bom,
    text_blocks,
    whole_content,
)
from contracts.field_type import FieldType
from pipelines.etl_source import FileSource

SAMPLE_BYTES = 256 * 1024
"""How much of a file's beginning says how long its lines are, and what else they hold."""


class JsonlFiles:
    """Reads one JSON object a line."""

    def __init__(self, source: FileSource, declared: Mapping[str, FieldType]) -> None:
        self._source = source
        self._declared = declared

    def columns(self, opened: BinaryIO, file: PinnedFile, notes: list[str]) -> dict[str, str]:
        """Give no columns: lines need not be alike; names at the beginning are told in a note."""
        with whole_content(file.path):
            content = decompressed(opened, compression_of(file.name, self._source.compression))
            skip_bom(content, file.path)
            sample = content.read(SAMPLE_BYTES)
        names: dict[str, None] = {}
        for line in sample.split(b"\n")[:-1]:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            names |= dict.fromkeys(record if isinstance(record, dict) else ())
        others = [f"`{name}`" for name in names if name not in self._declared]
        if others:
            notes.append(
                f"file `{file.path}` has undeclared fields at its beginning, which are not read: "
                + ", ".join(others)
            )
        return {}

    def spans(self, opened: BinaryIO, file: PinnedFile, chunk_rows: int) -> list[Span]:
        """Cut a file near equal places, each behind a line end; a compressed one is one span."""
        if compression_of(file.name, self._source.compression) != "none":
            rows = max(file.size_bytes // PACKED_ROW_BYTES, 1)
            return [Span(file=file, row_estimate=rows)]
        start = skip_bom(opened, file.path)
        sample = opened.read(SAMPLE_BYTES)
        row_bytes = max(len(sample) // max(sample.count(b"\n"), 1), 1)
        spans: list[Span] = []
        while start < file.size_bytes:
            stop = _line_end(opened, start + row_bytes * chunk_rows, file.size_bytes)
            estimate = max((stop - start) // row_bytes, 1)
            spans.append(Span(file=file, start=start, stop=stop, row_estimate=estimate))
            start = stop
        return spans

    def read(
        self, opened: BinaryIO, span: Span, kinds: Mapping[str, FieldType], block_bytes: int
    ) -> Iterator[ReadRows]:
        """Yield the rows of a span; empty lines are no rows."""
        file = span.file
        rows = JsonRows(f"file `{file.path}`", kinds, self._source.timezone)
        with whole_content(file.path):
            content = decompressed(opened, compression_of(file.name, self._source.compression))
            start = max(skip_bom(content, file.path), span.start)
            content.seek(start)
            for block, at, _ in text_blocks(
                content, file.path, start, span.stop, block_bytes, _cut
            ):
                first, size = line_spans(block)
                records = record_block(block, first, size)
                yield rows.read(records, _Places(file.name, at, first))


class _Places:
    """Says where the lines of a block are, for people."""

    def __init__(
        self, name: str, position: int, first: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    ) -> None:
        self._name = name
        self._position = position
        self._first = first

    def __call__(self, row: int) -> str:
        return f"{self._name} at byte {self._position + int(self._first[row]):,}"


def _cut(block: Bytes, last: bool) -> tuple[int, None]:  # noqa: FBT001 (of the port)
    return len(block) if last else block.tobytes().rfind(b"\n") + 1, None


def _line_end(opened: BinaryIO, wanted: int, size: int) -> int:
    """Find the first place at or behind `wanted` where a line begins, or the end."""
    if wanted >= size:
        return size
    opened.seek(wanted - 1)
    at = wanted - 1
    while got := opened.read(SAMPLE_BYTES // 4):
        found = got.find(b"\n")
        if found >= 0:
            return min(at + found + 1, size)
        at += len(got)
    return size
