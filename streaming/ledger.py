"""Conservation of records: what went in, and where each went."""

from common.payloads import Model


class Ledger(Model):
    """Counts of records of one epoch; they must balance.

    Attributes:
        consumed: Records read from the log.
        expanded: Rows that were aggregated or delivered beyond one per record; `expand` adds them.
        aggregated: Events that entered a window.
        delivered: Events of a raw stream that were handed to its sinks.
        filtered: Records of which conditions and empty lists left no row.
        duplicate: Events that de-duplication dropped.
        late: Events whose windows were closed for good.
        below_floor: Events that a rewound stream read again and whose windows all begin before its
            floor, or of a raw stream before the offset from which it writes rows again: they are in
            the rows of an older epoch.
        dead_lettered: Records that could not be read or broke what was declared.
        skipped: Offsets given up by an explicit `--accept-loss`; outside the balance, they were
            never consumed.
    """

    consumed: int = 0
    expanded: int = 0
    aggregated: int = 0
    delivered: int = 0
    filtered: int = 0
    duplicate: int = 0
    late: int = 0
    below_floor: int = 0
    dead_lettered: int = 0
    skipped: int = 0

    def plus(self, other: "Ledger") -> "Ledger":
        """Add two ledgers count by count."""
        return Ledger(
            **{name: getattr(self, name) + getattr(other, name) for name in Ledger.model_fields}
        )

    @property
    def balanced(self) -> bool:
        """Whether every record that came in went somewhere."""
        out = self.aggregated + self.delivered + self.filtered
        out += self.duplicate + self.late + self.below_floor + self.dead_lettered
        return self.consumed + self.expanded == out
