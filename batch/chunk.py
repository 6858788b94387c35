"""What a batch reads: its shape, the window of its cursor, and the chunks that it is cut into."""

from common.payloads import Model, Ref


class SourceShape(Model):
    """What a source says of itself.

    Attributes:
        columns: Every column with its field type, as `contracts.field_type_parse` reads it.
        primary_key: Columns of the primary key, in order.
        row_estimate: About how many rows there are; None if nobody knows.
        notes: Facts for people, such as that a type is read as text.
    """

    columns: dict[str, str]
    primary_key: list[str] = []
    row_estimate: int | None = None
    notes: list[str] = []


class CursorWindow(Model):
    """Which rows a run reads, by the text of a cursor's values; None is without a bound.

    Attributes:
        start: First value.
        start_open: Whether `start` itself is left out.
        end: First value that is left out.
        end_closed: Whether `end` itself is read, too.
        empty: Whether nothing is read: the source had no row when the end was fixed.
    """

    start: str | None = None
    start_open: bool = False
    end: str | None = None
    end_closed: bool = False
    empty: bool = False


class Settled(Model):
    """A window whose end is fixed, and what may still add rows below it.

    Attributes:
        window: What the run reads.
        open_transactions: Transactions of the source that were open when the end was fixed and
            still are; while there is one, the rows are not read.
    """

    window: CursorWindow
    open_transactions: list[str] = []


class Chunk(Model):
    """One pinned part of the input: reading it again reads the same rows, as far as they are there.

    Attributes:
        number: From 0.
        part: What the source needs to find it, as JSON text of its own.
        label: The same for people, such as `order_id 1..250,000`.
        row_estimate: About how many rows.
    """

    number: int
    part: str
    label: str = ""
    row_estimate: int = 0


class ExtractedChunk(Model):
    """A chunk that has landed in the raw zone.

    Attributes:
        rows: Rows that were read, unreadable ones left out.
        parts: Parquet files, in order.
        unreadable: Rows that could not be read.
        unreadable_rows: The same rows with their reasons, as Parquet of `batch.quarantine`.
        cursor_end: Greatest value of the cursor, as text.
    """

    number: int
    rows: int
    parts: list[Ref]
    unreadable: int = 0
    unreadable_rows: Ref | None = None
    cursor_end: str | None = None


class CleanChunk(Model):
    """A chunk that has gone through the steps and the checks of rows.

    `rows_in + expanded = rows + filtered + quarantined`; `rows_in` counts unreadable rows, too.

    Attributes:
        rows: Rows for the targets.
        parts: Parquet files of these rows, in order.
        expanded: Rows that flat-maps added.
        quarantine: Parquet of `batch.quarantine`, with unreadable rows.
        profile: What checks of the whole batch need of this chunk, as Parquet or JSON by reference.
    """

    number: int
    rows_in: int
    rows: int
    filtered: int = 0
    quarantined: int = 0
    expanded: int = 0
    parts: list[Ref] = []
    quarantine: Ref | None = None
    profile: Ref | None = None


class BatchLedger(Model):
    """What became of every row of a run.

    extracted + expanded = loaded + grouped + filtered + quarantined, where `grouped` counts the
    rows that others stand for after a step that groups.
    """

    extracted: int = 0
    expanded: int = 0
    loaded: int = 0
    filtered: int = 0
    quarantined: int = 0
    grouped: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        ended = self.loaded + self.grouped + self.filtered + self.quarantined
        return self.extracted + self.expanded == ended

    def dropped(self, records: int, rows: int) -> "BatchLedger":
        """Let records that were to be loaded go to quarantine, with all rows made of them."""
        return self.model_copy(
            update={
                "loaded": self.loaded - rows,
                "expanded": self.expanded - (rows - records),
                "quarantined": self.quarantined + records,
            }
        )

    def sum(self, other: "BatchLedger") -> "BatchLedger":
        """Add the counts of another part."""
        names = type(self).model_fields
        return BatchLedger(**{name: getattr(self, name) + getattr(other, name) for name in names})


def ledger_of(chunk: CleanChunk) -> BatchLedger:
    """Count what became of the rows of a chunk."""
    return BatchLedger(
        extracted=chunk.rows_in,
        expanded=chunk.expanded,
        loaded=chunk.rows,
        filtered=chunk.filtered,
        quarantined=chunk.quarantined,
    )
