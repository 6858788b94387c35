"""Checks of rows: which rows break which rule, what becomes of them, and some of them for people.

Null passes every check but `not_null`, as in SQL. Rows of severity quarantine are set aside, with
all the rows of their record and with every reason; those of other severities stay and are counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import polars as pl

from batch.batch_step import Shared, without
from batch.expression_failure import shown
from batch.gate_report import MOST_SAMPLES, Sample
from batch.profile import RuleTally
from batch.transform import Cleaned
from common.errors import UsageError
from contracts.contract import FieldRule, RuleKind
from contracts.field_type import FieldType
from contracts.row_check import RowCheck, compile_rules
from pipelines.etl import Check, Severity
from pipelines.expression import ScalarExpression, parse_condition
from pipelines.reference_table import column_of, converted, read_table
from streaming.expression import to_polars
from streaming.resource import RECORD
from streaming.row_step import Derive

CONTRACT = "contract"
ROW_CHECKS = frozenset({"not_null", "range", "length", "pattern", "enum", "row", "referential"})

_HOLDS = "_holds"


@dataclass(frozen=True)
class RowRule:
    """One rule, ready to be computed.

    Attributes:
        key: Names it among all rules of the gate.
        name: Name in reports.
        check: Kind of check, or `contract`.
        field: The column that it reads; empty of a condition.
        severity: What becomes of a row that breaks it.
        expected: What should be, in words.
        broken: Whether a row breaks it, never null; None of a condition, which can fail.
        condition: The condition that a row must not make false.
    """

    key: str
    name: str
    check: str
    field: str
    severity: Severity
    expected: str
    broken: pl.Expr | None = None
    condition: ScalarExpression | None = None

    def judge(self, rows: pl.DataFrame) -> pl.Series:
        """Tell which rows break the rule; a condition that cannot be computed is broken."""
        if self.broken is not None:
            return rows.with_columns(self.broken.alias(_HOLDS))[_HOLDS]
        if self.condition is None:
            raise UsageError(f"check `{self.name}`: expected something to compute, got nothing")
        step = Derive(_HOLDS, to_polars(self.condition), frozenset(), (self.condition,))
        # Each row is a record of its own here.
        placed = rows.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(RECORD))
        good = Shared(step).run(placed).rows.select(RECORD, _HOLDS)
        held = good.filter(pl.col(_HOLDS).fill_null(value=True))[RECORD]
        return ~placed[RECORD].is_in(held.implode())

    def reasons(self, rows: pl.DataFrame) -> pl.Series:
        """Say for rows that break it what was expected and what came."""
        if not self.field:
            return pl.Series("reason", [f"expected {self.expected}"] * rows.height, dtype=pl.String)
        value = pl.lit("a list") if rows[self.field].dtype == pl.List else shown(pl.col(self.field))
        start = pl.lit(f"`{self.field}`: expected {self.expected}, got `")
        empty = pl.lit(f"`{self.field}`: expected {self.expected}, got null")
        told = pl.concat_str(start, value, pl.lit("`"))
        text = pl.when(pl.col(self.field).is_null()).then(empty).otherwise(told)
        return rows.select(text.alias("reason")).to_series()


@dataclass(frozen=True)
class CompiledRowChecks:
    """All checks of rows, in the order of their file."""

    rules: tuple[RowRule, ...]

    def apply(self, cleaned: Cleaned, chunk: int) -> tuple[Cleaned, list[RuleTally]]:
        """Hold rows against all rules.

        Args:
            cleaned: Rows after the steps, or before them (`compile_batch(types, [])` makes one).
            chunk: Number of their chunk, for samples.

        Returns:
            What is left, with the rejected records added, and a tally for each rule.
        """
        rows = cleaned.rows
        tallies: list[RuleTally] = []
        found: list[pl.DataFrame] = [cleaned.rejected.clear()]
        for rule in self.rules:
            bad = rows.filter(rule.judge(rows))
            tallies.append(_tally(rule, rows.height, bad, chunk))
            if rule.severity == "quarantine" and not bad.is_empty():
                found.append(_rejection(rule, bad))
        rejected = (
            pl.concat(found)
            .group_by(RECORD, maintain_order=True)
            .agg(pl.col("check", "field").first(), pl.col("reason").str.join("; "))
        )
        if rejected.is_empty():
            return cleaned, tallies
        kept = without(rows, rejected[RECORD])
        together = pl.concat([cleaned.rejected, rejected]).sort(RECORD)
        expanded = kept.height - kept[RECORD].n_unique()
        left = replace(cleaned, rows=kept, expanded=expanded, rejected=together)
        return left, tallies


def _tally(rule: RowRule, checked: int, bad: pl.DataFrame, chunk: int) -> RuleTally:
    first = bad.head(MOST_SAMPLES)
    samples = [
        Sample(chunk=chunk, row=row, reason=reason)
        for row, reason in zip(first[RECORD], rule.reasons(first), strict=True)
    ]
    return RuleTally(rule=rule.key, checked=checked, failed=bad.height, samples=samples)


def _rejection(rule: RowRule, bad: pl.DataFrame) -> pl.DataFrame:
    """Reject the records of rows, each once, by its first row."""
    return bad.select(
        RECORD,
        pl.lit(rule.check if rule.check == CONTRACT else rule.name).alias("check"),
        pl.lit(rule.field).alias("field"),
        rule.reasons(bad),
    ).unique(RECORD, keep="first", maintain_order=True)


def compile_contract(rules: Iterable[FieldRule], types: dict[str, FieldType]) -> CompiledRowChecks:
    """Compile the rules of a contract's fields; raises `UsageError` when one does not fit."""
    return CompiledRowChecks(
        tuple(
            RowRule(
                key=f"{CONTRACT}:{one.rule}", name=one.rule, check=CONTRACT, field=one.field,
                severity=one.severity, expected=one.expected, broken=one.broken,
            )
            for one in compile_rules(rules, types)
        )
    )  # fmt: skip


def compile_row_checks(
    checks: list[Check], types: dict[str, FieldType], references: Mapping[int, pl.Series]
) -> CompiledRowChecks:
    """Compile the checks of rows among those of a gate; others are passed over.

    Args:
        checks: All checks, in the order of the file.
        types: Columns after the steps.
        references: Values that `referential` checks allow, by the place of the check, in the type
            of the column; see `reference_values`.

    Raises:
        UsageError: A check does not fit its column, or has no reference.
    """
    rules: list[RowRule] = []
    for place, check in enumerate(checks):
        if check.check in ROW_CHECKS:
            rules += _compile(place, check, types, references)
    return CompiledRowChecks(tuple(rules))


def reference_values(file: str, content: bytes, column: str, kind: FieldType) -> pl.Series:
    """Read the allowed values of a column out of a file; raises `PipelineSpecError`."""
    values = column_of(file, read_table(file, content), column)
    return converted(file, values.drop_nulls(), replace(kind, nullable=False))


def _compile(
    place: int, check: Check, types: dict[str, FieldType], references: Mapping[int, pl.Series]
) -> list[RowRule]:
    if check.check == "row":
        text = check.expression or ""
        condition = parse_condition(text, types)
        expected = f"`{text}`"
        return [
            RowRule(str(place), check.name, "row", "", check.severity, expected, None, condition)
        ]
    if check.check == "referential":
        return [_referential(place, check, references)]
    found = compile_rules(field_rules(check), types)
    return [
        RowRule(
            key=f"{place}:{number}", name=check.name, check=check.check, field=one.field,
            severity=one.severity, expected=one.expected, broken=one.broken,
        )
        for number, one in enumerate(_joined(found))
    ]  # fmt: skip


def _joined(found: list[RowCheck]) -> list[RowCheck]:
    """Make one rule of the lower and the upper bound of a column."""
    merged: dict[str, RowCheck] = {}
    for one in found:
        before = merged.get(one.field)
        merged[one.field] = one if before is None else replace(
            before, expected=f"{before.expected} and {one.expected}",
            broken=before.broken | one.broken,
        )  # fmt: skip
    return list(merged.values())


def field_rules(check: Check) -> list[FieldRule]:
    """Give a check of values in the words of contracts; a `pattern` matches the whole value."""
    kinds: list[tuple[RuleKind, list[str]]] = []
    if check.check == "not_null":
        kinds = [("required", [])]
    elif check.check == "pattern":
        kinds = [("pattern", [rf"\A(?:{check.pattern})\z"])]
    elif check.check == "enum":
        kinds = [("one_of", check.values)]
    else:
        low: RuleKind = "minimum" if check.check == "range" else "min_length"
        high: RuleKind = "maximum" if check.check == "range" else "max_length"
        kinds = [(kind, [text]) for kind, text in ((low, check.min), (high, check.max)) if text]
    return [
        FieldRule(rule=check.name, field=field, kind=kind, values=values, severity=check.severity)
        for field in check.fields
        for kind, values in kinds
    ]


def _referential(place: int, check: Check, references: Mapping[int, pl.Series]) -> RowRule:
    reference, field = check.reference, check.fields[0]
    allowed = references.get(place)
    if reference is None or allowed is None:
        raise UsageError(f"check `{check.name}`: expected its reference to be loaded by now")
    where = reference.file or reference.table or ""
    column = pl.col(field)
    broken = column.is_not_null() & ~column.is_in(allowed.unique().implode())
    return RowRule(
        key=str(place), name=check.name, check="referential", field=field, severity=check.severity,
        expected=f"a value of `{reference.field}` in `{where}`",
        broken=broken.fill_null(value=False),
    )  # fmt: skip
