"""Records against their contract: defaults are filled in, and what breaks a rule is dead."""

from dataclasses import dataclass

import polars as pl

from contracts.row_check import RowCheck, first_broken
from streaming.contract_plan import ContractPlan
from streaming.decode import DeadRow, Decoded, RecordDecoder
from streaming.json_reason import cut
from streaming.record_block import RecordBlock
from streaming.side_record import block_rows


@dataclass(frozen=True)
class CheckedDecoder:
    """Decodes records and holds them against their contract; keeps no state."""

    decoder: RecordDecoder
    contract: ContractPlan

    def decode(self, block: RecordBlock, now_ms: int) -> Decoded:
        """Decode a block as `RecordDecoder` does; what breaks a rule is dead by its first one."""
        return self._checked(block, self.decoder.decode(block, now_ms))

    def _checked(self, block: RecordBlock, decoded: Decoded) -> Decoded:
        checks, defaults = self.contract.checks, self.contract.defaults
        rows = decoded.rows.with_columns(
            value for name, value in defaults.items() if name in decoded.rows.columns
        )
        if not checks:
            return Decoded(rows, decoded.dead)
        bad = rows.select(pl.any_horizontal(check.broken for check in checks)).to_series()
        if not bad.any():
            return Decoded(rows, decoded.dead)
        broken = rows.filter(bad)
        first = broken.select(first_broken(list(checks))).to_series().to_list()
        places = block_rows(block, decoded, bad.arg_true().to_list())
        dead = [
            self._death(block, place, checks[rule], broken[checks[rule].field][row])
            for row, (place, rule) in enumerate(zip(places, first, strict=True))
        ]
        together = sorted([*decoded.dead, *dead], key=lambda one: one.row)
        return Decoded(rows.filter(~bad), together)

    def _death(self, block: RecordBlock, place: int, check: RowCheck, value: object) -> DeadRow:
        shown = value.to_list() if isinstance(value, pl.Series) else value
        got = "null" if shown is None else cut(str(shown).encode())
        error = (
            f"record breaks contract {self.contract.name}, rule `{check.rule}`: "
            f"`{check.field}` must be {check.expected}, got {got}"
        )
        return DeadRow(place, int(block.offset[place]), error, check.field)
