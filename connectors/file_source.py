"""Files as the source of a batch: found, pinned, cut, and read in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import closing, suppress
from typing import BinaryIO, TypeVar

from activities.etl_ports import SourceBlock
from batch.chunk import Chunk, CursorWindow, SourceShape
from batch.read_row import ReadRows, check_kinds, record_batch, unreadable_rows
from common.errors import SourceRefusedError
from common.payloads import Model
from common.settings import ObjectStoreSettings
from connectors.csv_file import CsvFiles
from connectors.file_format import FileFormat, Span
from connectors.file_place import PinnedFile, open_place
from connectors.jsonl_file import JsonlFiles
from connectors.parquet_file import ParquetFiles
from connectors.parquet_type import common_type
from connectors.steady_source import SteadySource
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.conversion import nullable
from pipelines.data_interval import DataInterval
from pipelines.etl_source import FileSource

FILES_AT_ONCE = 8
MAX_SPANS = 200
"""Small files share a chunk, up to so many."""

Item = TypeVar("Item")


class FilePart(Model):
    """What a chunk reads, one span after the other."""

    spans: list[Span]


class FileBatchSource(SteadySource):
    """Files of one format, in one folder or bucket or many.

    Args:
        source: What to read.
        declared: Declared columns with their types, in order.
        interval: The interval whose day stands for `{date}`.
        base_dir: Folder from which relative paths are taken.
        settings: Where S3 is.
    """

    def __init__(
        self,
        source: FileSource,
        declared: Mapping[str, FieldType],
        interval: DataInterval | None,
        base_dir: str,
        settings: ObjectStoreSettings,
    ) -> None:
        super().__init__(f"files `{source.url}`")
        self._declared = declared
        self._url = with_date(source.url, interval, self.what)
        self._place = open_place(self._url, base_dir, settings)
        self._format = _open_format(source, declared)

    async def describe(self) -> SourceShape:
        """Give declared columns first, then those that files have besides.

        Raises:
            SourceRefusedError: There is no file; a file lacks a column that may not be null; files
                disagree about the type of a column that is not declared.
        """
        files = await self._find()
        notes: list[str] = []
        each = await self._each(
            files, lambda file, opened: self._format.columns(opened, file, notes)
        )
        columns = {name: str(kind) for name, kind in self._declared.items()}
        if any(each):
            columns |= self._undeclared(files, each)
            self._check_declared(files, each, notes)
        return SourceShape(columns=columns, notes=sorted(set(notes)))

    async def plan(self, shape: SourceShape, window: CursorWindow, chunk_rows: int) -> list[Chunk]:  # noqa: ARG002 (of the port)
        """Pin every file as it is now, and cut what they hold into chunks."""
        files = await self._find()
        each = await self._each(
            files, lambda file, opened: self._format.spans(opened, file, chunk_rows)
        )
        parts: list[list[Span]] = []
        rows = 0
        for span in (span for spans in each for span in spans):
            if parts and rows + span.row_estimate <= chunk_rows and len(parts[-1]) < MAX_SPANS:
                parts[-1].append(span)
            else:
                parts.append([span])
                rows = 0
            rows += span.row_estimate
        return [
            Chunk(
                number=number,
                part=FilePart(spans=spans).model_dump_json(),
                label=_label(spans),
                row_estimate=sum(span.row_estimate for span in spans),
            )
            for number, spans in enumerate(parts)
        ]

    async def read(
        self,
        shape: SourceShape,
        window: CursorWindow,  # noqa: ARG002 (of the port)
        chunk: Chunk,
        block_bytes: int,
    ) -> AsyncIterator[SourceBlock]:
        """Yield the rows of a chunk; a file that was changed since the plan is refused."""
        kinds = {name: parse_field_type(text) for name, text in shape.columns.items()}
        part = FilePart.model_validate_json(chunk.part)
        first = 0
        async for rows in in_thread(self._rows(part, kinds, block_bytes)):
            if len(rows):
                yield SourceBlock(
                    record_batch(rows.rows), unreadable_rows(rows.bad, chunk.number, first)
                )
            first += len(rows)

    async def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _rows(
        self, part: FilePart, kinds: Mapping[str, FieldType], block_bytes: int
    ) -> Iterator[ReadRows]:
        for span in part.spans:
            with self._place.open(span.file) as opened:
                for rows in self._format.read(opened, span, kinds, block_bytes):
                    self._place.check(span.file, opened)
                    yield rows
                self._place.check(span.file, opened)

    async def _find(self) -> list[PinnedFile]:
        files = await asyncio.to_thread(self._place.find)
        if not files:
            raise SourceRefusedError(
                f"files `{self._url}`: expected one at least, got none; check the url, and that "
                "the worker sees the folder"
            )
        return files

    async def _each(
        self, files: list[PinnedFile], look: Callable[[PinnedFile, BinaryIO], Item]
    ) -> list[Item]:
        """Look at every file, some at a time; the order is kept."""
        room = asyncio.Semaphore(FILES_AT_ONCE)

        def looked(file: PinnedFile) -> Item:
            with self._place.open(file) as opened:
                found = look(file, opened)
                if not opened.closed:
                    self._place.check(file, opened)
                return found

        async def one(file: PinnedFile) -> Item:
            async with room:
                return await asyncio.to_thread(looked, file)

        return await asyncio.gather(*(one(file) for file in files))

    def _undeclared(self, files: list[PinnedFile], each: list[dict[str, str]]) -> dict[str, str]:
        """Find the columns that are not declared; null where a file lacks one."""
        found: dict[str, FieldType] = {}
        for file, columns in zip(files, each, strict=True):
            for name, text in columns.items():
                if name in self._declared:
                    continue
                kind = parse_field_type(text)
                both = common_type(found.get(name, kind), kind)
                if both is None:
                    raise SourceRefusedError(
                        f"file `{file.path}`: expected `{found[name]}` in column `{name}` as in "
                        f"the files before, got `{kind}`; declare the column in `source.fields`"
                    )
                found[name] = both
        lacking = {name for name in found if not all(name in columns for columns in each)}
        return {
            name: str(nullable(kind, when=kind.nullable or name in lacking))
            for name, kind in found.items()
        }

    def _check_declared(
        self, files: list[PinnedFile], each: list[dict[str, str]], notes: list[str]
    ) -> None:
        for file, columns in zip(files, each, strict=True):
            for name, kind in self._declared.items():
                if name in columns or not columns:
                    continue
                if not kind.nullable:
                    raise SourceRefusedError(
                        f"file `{file.path}`: expected a column `{name}`, got "
                        f"{', '.join(columns)}; correct the file, or declare `{kind}?`"
                    )
                notes.append(f"file `{file.path}` has no column `{name}`, which is null")


def with_date(text: str, interval: DataInterval | None, what: str) -> str:
    """Put the day of the interval in; `SourceRefusedError` where there is no interval."""
    if "{date}" not in text:
        return text
    if interval is None:
        raise SourceRefusedError(
            f"{what}: expected an interval for `{{date}}`, got a run without one; "
            "declare `interval`"
        )
    return text.replace("{date}", interval.day)


async def in_thread(items: Iterator[Item]) -> AsyncIterator[Item]:
    """Yield what an iterator gives, each made in a thread, so that the loop goes on."""
    with closing(_Closable(items)):
        while True:
            found = await asyncio.to_thread(_next, items)
            if found is None:
                return
            yield found[0]


class _Closable:
    """Closes a generator, unless its thread is still in it; then it ends by itself."""

    def __init__(self, items: Iterator[object]) -> None:
        self._items = items

    def close(self) -> None:
        with suppress(ValueError):
            close = getattr(self._items, "close", None)
            if close is not None:
                close()


def _next(items: Iterator[Item]) -> tuple[Item] | None:
    for item in items:
        return (item,)
    return None


def _open_format(source: FileSource, declared: Mapping[str, FieldType]) -> FileFormat:
    if source.format != "parquet":
        check_kinds(declared, f"files `{source.url}`")
    if source.format == "csv":
        return CsvFiles(source)
    return (
        JsonlFiles(source, declared) if source.format == "jsonl" else ParquetFiles(source, declared)
    )


def _label(spans: list[Span]) -> str:
    first = spans[0]
    if len(spans) > 1:
        return f"{first.file.name} … {spans[-1].file.name}, {len(spans)} parts"
    return (
        first.file.name
        if first.stop is None
        else f"{first.file.name} {first.start:,}..{first.stop:,}"
    )
