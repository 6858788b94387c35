"""Rows of CSV texts: cut by the kernel, checked one by one, converted strictly."""

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from batch.csv_scan import BLANK, FAULTS, GOOD, Records
from batch.read_row import BadRow, ReadRows, typed_rows, whole_text
from common.errors import FatalError, SourceRefusedError
from contracts.field_type import FieldType

Bytes = npt.NDArray[np.uint8]


def header_names(record: bytes, delimiter: str, file: str) -> list[str]:
    """Read the names of the columns; one without a name is called by its number.

    Raises:
        SourceRefusedError: A name comes twice, or the text is not UTF-8.
    """
    try:
        text = record.decode()
    except UnicodeDecodeError as error:
        raise SourceRefusedError(
            f"file `{file}`: expected UTF-8, got other bytes in its line of names; convert it"
        ) from error
    given = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    names = [name.strip() or f"column_{number}" for number, name in enumerate(given, 1)]
    again = next((name for name in names if names.count(name) > 1), None)
    if again is not None:
        raise SourceRefusedError(
            f"file `{file}`: expected each column once in its line of names, got `{again}` twice"
        )
    return names


class CsvRows:
    """Reads the rows of one file.

    Args:
        file: Name of the file, for messages.
        header: Names of its columns.
        kinds: Wanted columns with their types; those not in the file are null.
        delimiter: Character between fields.
        nulls: Texts that stand for null; within quotes they are texts in columns of type `string`.
        zone: Zone of times without one; None refuses them.
    """

    def __init__(
        self,
        file: str,
        header: list[str],
        kinds: Mapping[str, FieldType],
        *,
        delimiter: str = ",",
        nulls: list[str] | None = None,
        zone: str | None = None,
    ) -> None:
        self._file = file
        self._header = header
        self._kinds = kinds
        self._delimiter = delimiter
        self._zone = zone
        self._nulls = [""] if nulls is None else nulls
        self._places = [place for place, name in enumerate(header) if name in kinds]
        self._convert = arrow_csv.ConvertOptions(
            column_types={str(place): pa.large_string() for place in range(len(header))},
            include_columns=[str(place) for place in self._places],
            null_values=self._nulls,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        )

    def read(self, text: Bytes, records: Records, position: int) -> ReadRows:
        """Read the records of a text; empty lines are no rows.

        Args:
            text: uint8, begins with the first record.
            records: What the kernel found in it.
            position: Place of its first byte in the file.
        """
        kept = np.flatnonzero(records.mark != BLANK)
        end = records.end[kept]
        start = np.concatenate([[0], records.end])[kept]
        faults = self._faults(text, end, records.fields[kept], records.mark[kept])
        good = np.setdiff1d(np.arange(len(kept)), np.fromiter(faults, np.int64), assume_unique=True)

        def place(row: int) -> str:
            return f"{self._file} at byte {position + int(start[row]):,}"

        def content(row: int) -> str:
            return self._content(text[start[row] : end[row]].tobytes())

        read = typed_rows(
            self._columns(text, start[good], end[good]),
            len(good),
            self._kinds,
            self._zone,
            lambda row: content(int(good[row])),
            lambda row: place(int(good[row])),
        )
        bad = [BadRow(int(good[one.row]), one.field, one.reason, one.content) for one in read.bad]
        bad += [
            BadRow(
                row, "", f"{why} ({place(row)})", whole_text(text[start[row] : end[row]].tobytes())
            )
            for row, why in faults.items()
        ]
        return ReadRows(read.rows, sorted(bad, key=lambda one: one.row))

    def _faults(
        self,
        text: Bytes,
        end: npt.NDArray[np.int64],
        fields: npt.NDArray[np.int32],
        mark: npt.NDArray[np.uint8],
    ) -> dict[int, str]:
        """Find rows that cannot be cut into columns."""
        width = len(self._header)
        found: dict[int, str] = {}
        for row in np.flatnonzero((mark != GOOD) | (fields != width)).tolist():
            found[row] = (
                f"expected a row of CSV, got {FAULTS[int(mark[row])]}"
                if mark[row] != GOOD
                else f"expected {width} values as in the line of names, got {int(fields[row])}"
            )
        for row in _not_utf8(text, end):
            found.setdefault(row, "expected UTF-8, got other bytes")
        return found

    def _columns(
        self, text: Bytes, start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
    ) -> dict[str, pl.Series]:
        """Cut good rows into columns of texts."""
        if not len(start):
            return {self._header[place]: pl.Series(dtype=pl.String) for place in self._places}
        if not self._places:
            return {}
        gaps = np.flatnonzero(start[1:] != end[:-1])
        first = start[np.concatenate([[0], gaps + 1])]
        last = end[np.concatenate([gaps, [len(end) - 1]])]
        runs = [text[a:b].data for a, b in zip(first.tolist(), last.tolist(), strict=True)]
        content = runs[0] if len(runs) == 1 else b"".join(runs)
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(content)),
            read_options=arrow_csv.ReadOptions(
                use_threads=False,
                column_names=[str(place) for place in range(len(self._header))],
                block_size=len(content) + 1,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._delimiter, newlines_in_values=True
            ),
            convert_options=self._convert,
        )
        if table.num_rows != len(start):
            raise FatalError(
                f"file `{self._file}`: expected {len(start)} rows, got {table.num_rows} from the "
                "reader of CSV; report this as a bug"
            )
        columns = pl.DataFrame(table)
        return {
            self._header[place]: self._without_nulls(self._header[place], columns[str(place)])
            for place in self._places
        }

    def _without_nulls(self, name: str, column: pl.Series) -> pl.Series:
        """Take null texts within quotes for null where they could be no value."""
        if self._kinds[name].base == "string":
            return column
        return column.set(column.is_in(self._nulls), None)

    def _content(self, record: bytes) -> str:
        try:
            lines = io.StringIO(record.decode(), newline="")
            values = next(csv.reader(lines, delimiter=self._delimiter), [])
        except (csv.Error, UnicodeDecodeError):
            return whole_text(record)
        return json.dumps(dict(zip(self._header, values, strict=True)), ensure_ascii=False)


def _not_utf8(text: Bytes, end: npt.NDArray[np.int64]) -> list[int]:
    """Find the rows whose bytes are not UTF-8."""
    content, ends = text.data, end.tolist()
    found: list[int] = []
    at, stop = 0, ends[-1] if ends else 0
    while at < stop:
        try:
            str(content[at:stop], "utf-8")
        except UnicodeDecodeError as error:
            row = bisect_right(ends, at + error.start)
            found.append(row)
            at = ends[row]
        else:
            break
    return found
