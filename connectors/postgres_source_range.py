"""Ranges of a PostgreSQL table: how it is cut, and the condition of each part."""

import json
from dataclasses import dataclass
from itertools import pairwise

from batch.chunk import Chunk, CursorWindow
from connectors.postgres_table import quoted


def literal(text: str) -> str:
    """Quote a string; a backslash means itself, as the standard says."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class KeyRange:
    """Rows whose key is in `[start, end)`; no bound is None, and nulls are in the first range."""

    column: str
    sql_type: str
    start: str | None
    end: str | None

    def condition(self) -> str:
        """Write the range as a condition."""
        name = quoted(self.column)
        parts = []
        if self.start is not None:
            parts.append(f"{name} >= {literal(self.start)}::{self.sql_type}")
        if self.end is not None:
            parts.append(f"{name} < {literal(self.end)}::{self.sql_type}")
        inside = " AND ".join(parts) or "true"
        return f"({inside})" if self.start is not None else f"({inside} OR {name} IS NULL)"


@dataclass(frozen=True)
class PageRange:
    """Rows in the pages `[start, end)` of a table; the last range has no end."""

    start: int
    end: int | None

    def condition(self) -> str:
        """Write the range as a condition."""
        parts = [f"ctid >= '({self.start},0)'::tid"]
        if self.end is not None:
            parts.append(f"ctid < '({self.end},0)'::tid")
        return f"({' AND '.join(parts)})"


def window_condition(column: str, sql_type: str, window: CursorWindow, zone: str = "UTC") -> str:
    """Write the window of a cursor as a condition; rows without a cursor are in none.

    Args:
        column: The cursor's column.
        sql_type: Its type.
        window: Instants in UTC end in `Z`, other values are as the column writes them.
        zone: On whose wall a column without a zone shows its days and times.
    """
    name = quoted(column)
    parts = []
    if window.start is not None:
        sign = ">" if window.start_open else ">="
        parts.append(f"{name} {sign} {bound(window.start, sql_type, zone)}")
    if window.end is not None:
        sign = "<=" if window.end_closed else "<"
        parts.append(f"{name} {sign} {bound(window.end, sql_type, zone)}")
    return " AND ".join(parts) or "true"


def bound(text: str, sql_type: str, zone: str) -> str:
    """Write a value of a cursor; an instant is moved to the wall of a column without a zone."""
    on_wall = f"({literal(text)}::timestamptz AT TIME ZONE {literal(zone)})"
    if sql_type.startswith("timestamp") and "without" in sql_type and text.endswith("Z"):
        return on_wall
    if sql_type == "date" and text.endswith("Z"):
        return f"{on_wall}::date"
    return f"{literal(text)}::{sql_type}"


def key_chunks(column: str, sql_type: str, bounds: list[str], rows: int) -> list[Chunk]:
    """Make the chunks between bounds, which are ascending and different."""
    edges: list[str | None] = [None, *bounds, None]
    each = max(1, round(rows / (len(edges) - 1)))
    chunks = []
    for number, (start, end) in enumerate(pairwise(edges)):
        part = {"key": column, "type": sql_type, "start": start, "end": end}
        label = f"{column} from {start or 'the first'} to before {end or 'the end'}"
        chunks.append(Chunk(number=number, part=json.dumps(part), label=label, row_estimate=each))
    return chunks


def page_chunks(pages: int, rows: int, chunk_rows: int) -> list[Chunk]:
    """Cut a table by its pages."""
    count = max(1, min(pages, -(-rows // chunk_rows)))
    edges = [pages * place // count for place in range(count)]
    chunks = []
    for number, start in enumerate(edges):
        end = edges[number + 1] if number + 1 < count else None
        label = f"pages from {start:,} to {'the end' if end is None else f'before {end:,}'}"
        part = json.dumps({"pages": [start, end]})
        chunks.append(
            Chunk(number=number, part=part, label=label, row_estimate=max(1, rows // count))
        )
    return chunks


def condition_of(chunk: Chunk) -> str:
    """Give the condition of a chunk."""
    part = json.loads(chunk.part)
    if "pages" in part:
        return PageRange(*part["pages"]).condition()
    if "key" not in part:
        return "true"
    return KeyRange(part["key"], part["type"], part["start"], part["end"]).condition()
