"""What every format of files can do, and the parts that files are cut into."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Protocol

from batch.read_row import ReadRows
from common.payloads import Model
from connectors.file_place import PinnedFile
from contracts.field_type import FieldType


class Span(Model):
    """A part of a file: bytes of a text, or row groups.

    Attributes:
        file: The file as it was pinned.
        start: First byte, or row group.
        stop: First one behind the span; None is the end of the file.
        row_estimate: About how many rows.
    """

    file: PinnedFile
    start: int = 0
    stop: int | None = None
    row_estimate: int = 0


class FileFormat(Protocol):
    """Reads files of one format; raises `SourceRefusedError` for a file that is none."""

    def columns(self, opened: BinaryIO, file: PinnedFile, notes: list[str]) -> dict[str, str]:
        """Give the columns that a file says it has, with their types.

        Args:
            opened: The file.
            file: Its name.
            notes: Takes facts for people.
        """
        ...

    def spans(self, opened: BinaryIO, file: PinnedFile, chunk_rows: int) -> list[Span]:
        """Cut a file into spans of about so many rows, in order; no rows give no span."""
        ...

    def read(
        self, opened: BinaryIO, span: Span, kinds: Mapping[str, FieldType], block_bytes: int
    ) -> Iterator[ReadRows]:
        """Yield the rows of a span, with the wanted columns, in blocks of about so many bytes."""
        ...
