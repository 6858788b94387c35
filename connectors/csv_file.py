"""CSV files: cut where records end, also where line ends stand within quotes."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from batch.csv_row import CsvRows, header_names
from batch.csv_scan import BLANK, Records, find_records
from batch.read_row import ReadRows
from common.errors import SourceRefusedError
from connectors.file_format import Span
from connectors.file_place import PinnedFile
from connectors.file_text import (
    MAX_RECORD_BYTES,
    Bytes,
    compression_of,
    decompressed,
    skip_bom,
    text_blocks,
    whole_content,
)
from contracts.field_type import FieldType
from pipelines.etl_source import FileSource

SCAN_BYTES = 8 * 1024 * 1024
HEADER_BYTES = 64 * 1024
PACKED_ROW_BYTES = 20
"""Guess of a row's length in a compressed file."""


class CsvFiles:
    """Reads CSV with a line of names.

    Raises:
        SourceRefusedError: The delimiter is none.
    """

    def __init__(self, source: FileSource) -> None:
        self._source = source
        self._delimiter = source.delimiter
        if not source.delimiter.isascii() or source.delimiter in '"\r\n':
            raise SourceRefusedError(
                f"source.files.delimiter: expected an ASCII character other than a quote or a line "
                f"end, got {source.delimiter!r}; convert the files"
            )

    def columns(self, opened: BinaryIO, file: PinnedFile, notes: list[str]) -> dict[str, str]:
        """Give the names of a file's first line; they are texts."""
        with whole_content(file.path):
            header, _ = self._header(self._content(opened, file), file)
        if not header:
            notes.append(f"file `{file.path}` is empty")
        return dict.fromkeys(header, "string?")

    def spans(self, opened: BinaryIO, file: PinnedFile, chunk_rows: int) -> list[Span]:
        """Cut a file by reading it once; a compressed one is one span."""
        if self._packed(file):
            rows = max(file.size_bytes // PACKED_ROW_BYTES, 1)
            return [Span(file=file, row_estimate=rows)]
        header, start = self._header(opened, file)
        if not header:
            return []
        opened.seek(start)
        spans: list[Span] = []
        rows = 0
        for _, at, records in text_blocks(opened, file.path, start, None, SCAN_BYTES, self._cut):
            stops = at + records.end
            for stop, count in _cuts(records, chunk_rows, rows):
                spans.append(
                    Span(file=file, start=start, stop=int(stops[stop]), row_estimate=count)
                )
                start, rows = int(stops[stop]), rows - count
            rows += int(np.count_nonzero(records.mark != BLANK))
        if rows:
            spans.append(Span(file=file, start=start, stop=file.size_bytes, row_estimate=rows))
        return spans

    def read(
        self, opened: BinaryIO, span: Span, kinds: Mapping[str, FieldType], block_bytes: int
    ) -> Iterator[ReadRows]:
        """Yield the rows of a span; empty lines are no rows."""
        with whole_content(span.file.path):
            content = self._content(opened, span.file)
            header, start = self._header(content, span.file)
            start = max(start, span.start)
            content.seek(start)
            rows = CsvRows(
                span.file.name,
                header,
                kinds,
                delimiter=self._delimiter,
                nulls=self._source.null,
                zone=self._source.timezone,
            )
            for block, at, records in text_blocks(
                content, span.file.path, start, span.stop, block_bytes, self._cut
            ):
                yield rows.read(block, records, at)

    def _packed(self, file: PinnedFile) -> bool:
        return compression_of(file.name, self._source.compression) != "none"

    def _content(self, opened: BinaryIO, file: PinnedFile) -> BinaryIO:
        return decompressed(opened, compression_of(file.name, self._source.compression))

    def _cut(self, block: Bytes, last: bool) -> tuple[int, Records]:  # noqa: FBT001 (of the port)
        records = find_records(block, ord(self._delimiter), last=last)
        return records.size_bytes, records

    def _header(self, content: BinaryIO, file: PinnedFile) -> tuple[list[str], int]:
        """Read the names of the columns; and where the rows begin."""
        begin = skip_bom(content, file.path)
        text = b""
        while True:
            got = content.read(HEADER_BYTES)
            text += got
            found = find_records(np.frombuffer(text, np.uint8), ord(self._delimiter), last=not got)
            named = np.flatnonzero(found.mark != BLANK)
            if len(named):
                first = int(named[0])
                start = int(found.end[first - 1]) if first else 0
                end = int(found.end[first])
                return header_names(text[start:end], self._delimiter, file.path), begin + end
            if not got:
                return [], begin
            if len(text) > MAX_RECORD_BYTES:
                raise SourceRefusedError(
                    f"file `{file.path}`: expected a line of names, got none in its first "
                    f"{MAX_RECORD_BYTES // 1024**2} MB"
                )


def _cuts(records: Records, chunk_rows: int, before: int) -> Iterator[tuple[int, int]]:
    """Yield the records behind which a span ends, with its rows; `before` are in it already."""
    rows = before + np.cumsum(records.mark != BLANK)
    done = 0
    for full in range(chunk_rows, int(rows[-1]) + 1 if len(rows) else 0, chunk_rows):
        yield int(np.searchsorted(rows, full)), full - done
        done = full
