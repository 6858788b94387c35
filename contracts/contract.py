"""What a dataset promises: fields and their rules, keys, quality and service levels."""

from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Literal

from common.payloads import Model
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type

Severity = Literal["block", "quarantine", "warn"]
"""What becomes of data that breaks a rule: nothing is published, the rows are set aside, or it is
only told."""

SEVERITIES: tuple[Severity, ...] = ("block", "quarantine", "warn")

RuleKind = Literal[
    "required", "minimum", "exclusive_minimum", "maximum", "exclusive_maximum", "multiple_of",
    "min_length", "max_length", "pattern", "one_of", "none_of",
    "min_items", "max_items", "unique_items",
]  # fmt: skip

Operator = Literal["=", "<>", ">", ">=", "<", "<=", "between", "not between"]

Metric = Literal[
    "null_values", "missing_values", "invalid_values", "duplicate_values", "row_count",
    "sql", "text", "custom",
]  # fmt: skip


class FieldRule(Model):
    """What each value of a field must be; null breaks `required` and nothing else.

    Attributes:
        rule: Name of the rule within its contract, such as `amount.minimum`.
        field: The field.
        kind: What is looked at.
        values: Bound, pattern or allowed values as text; none of `required` and `unique_items`,
            several of `one_of` and `none_of` only.
        severity: What becomes of a row that breaks it.
    """

    rule: str
    field: str
    kind: RuleKind
    values: list[str] = []
    severity: Severity = "quarantine"


class UniqueKey(Model):
    """Fields whose values, taken together, no two rows share.

    Rows with a null among them share nothing, as in SQL; a primary key has none.

    Attributes:
        rule: Name of the rule within its contract.
        fields: In the order of the key.
        severity: What becomes of rows that share a key.
        primary: Whether it is the primary key.
    """

    rule: str
    fields: list[str]
    severity: Severity = "quarantine"
    primary: bool = False


class Comparison(Model):
    """What a metric must be.

    Attributes:
        operator: Bounds of `between` and `not between` are inside.
        bounds: Numbers as text; two of `between` and `not between`, else one.
    """

    operator: Operator
    bounds: list[str]

    def holds(self, value: Decimal | Fraction) -> bool:
        """Tell whether a value is as it must be, exactly."""
        value = Fraction(value)
        low, high = (Fraction(Decimal(self.bounds[place])) for place in (0, -1))
        within = low <= value <= high
        return {
            "=": value == low,
            "<>": value != low,
            ">": value > low,
            ">=": value >= low,
            "<": value < low,
            "<=": value <= low,
            "between": within,
            "not between": not within,
        }[self.operator]

    def __str__(self) -> str:
        """Write it as in `>= 10` or `between 1 and 5`."""
        return f"{self.operator} {' and '.join(self.bounds)}"


class QualityRule(Model):
    """What the data must be as a whole.

    Attributes:
        rule: Name of the rule within its contract.
        metric: What is measured; `text` and `custom` are for people and other tools, nothing runs.
        fields: Field that is looked at, several of `duplicate_values`; none is the whole table.
        comparison: What the metric must be; None of `text` and `custom`.
        unit: Whether the metric counts rows, or is their share in percent of all rows.
        values: Values that are valid, or that count as missing, as text; None stands for null.
        pattern: Pattern that makes a value valid.
        query: Query of `sql`, with `{object}` and `{property}` as written.
        counted: Rules of rows: the metric of one field counts the rows that break any of them.
        severity: What becomes of data that breaks it.
        description: For people.
        dimension: What kind of quality it is, such as `completeness`.
    """

    rule: str
    metric: Metric
    fields: list[str] = []
    comparison: Comparison | None = None
    unit: Literal["rows", "percent"] = "rows"
    values: list[str | None] = []
    pattern: str | None = None
    query: str | None = None
    counted: list[FieldRule] = []
    severity: Severity = "block"
    description: str = ""
    dimension: str = ""


class ServiceLevel(Model):
    """A promise about the delivery, such as `latency` or `retention`.

    Attributes:
        property: In the standard's long word, such as `latency`.
        value: As written.
        unit: As written, such as `d`.
        duration_ms: Value and unit in milliseconds; None where they are no duration.
        element: Fields that are looked at, as written.
        driver: Why it matters: `regulatory`, `analytics`, `operational`.
        description: For people.
    """

    property: str
    value: str = ""
    unit: str = ""
    duration_ms: int | None = None
    element: str = ""
    driver: str = ""
    description: str = ""


class ContractField(Model):
    """A field of a dataset.

    Attributes:
        name: Name in the dataset.
        type: Type as written, `?` where null is allowed.
        default: What a null or missing value becomes, as text.
        primary_key: Place in the primary key, from 1.
        unique: Whether no two rows share a value.
        rules: What each value must be; `required` is among them where null is not allowed.
        physical_name: Name in the source where it differs.
        description: For people.
        classification: How sensitive it is, such as `confidential`.
    """

    name: str
    type: str
    default: str | None = None
    primary_key: int | None = None
    unique: bool = False
    rules: list[FieldRule] = []
    physical_name: str = ""
    description: str = ""
    classification: str = ""

    @property
    def required(self) -> bool:
        """Whether null is not allowed."""
        return not self.type.endswith("?")


class PinnedContract(Model):
    """What a stream keeps of its contract beside the types of the fields.

    Attributes:
        name: Name of the contract.
        version: Its version when the stream's file was read.
        defaults: What a null or missing value becomes, as text.
        rules: Those that make a record a dead letter; a type without `?` needs none.
    """

    name: str
    version: str
    defaults: dict[str, str] = {}
    rules: list[FieldRule] = []


class Contract(Model):
    """A contract of one dataset.

    Attributes:
        name: Name by which pipelines take it: that of its file.
        version: As in `1.4.0`.
        status: Such as `draft` or `active`.
        identifier: Identifier within the organisation.
        title: Name for people.
        dataset: Name of the dataset, such as a table or topic.
        physical_name: Name of the table or topic where it differs.
        owner: Team that answers for it.
        description: Purpose of the data.
        fields: In the order of columns.
        unique: Keys, the primary one first.
        quality: Rules of the data as a whole.
        service_levels: Promises about the delivery.
    """

    name: str
    version: str
    status: str
    identifier: str
    title: str = ""
    dataset: str
    physical_name: str = ""
    owner: str = ""
    description: str = ""
    fields: list[ContractField]
    unique: list[UniqueKey] = []
    quality: list[QualityRule] = []
    service_levels: list[ServiceLevel] = []

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return f"{self.name} {self.version}"

    @cached_property
    def types(self) -> dict[str, FieldType]:
        """Type of every field, in the order of columns."""
        return {field.name: parse_field_type(field.type) for field in self.fields}

    @property
    def defaults(self) -> dict[str, str]:
        """What a null or missing value becomes, of the fields that say so."""
        return {field.name: field.default for field in self.fields if field.default is not None}

    @property
    def rules(self) -> list[FieldRule]:
        """Rules of the values of all fields."""
        return [rule for field in self.fields for rule in field.rules]

    @property
    def pinned(self) -> PinnedContract:
        """What a stream keeps of the contract."""
        rows = [
            rule
            for rule in self.rules
            if rule.severity != "warn"
            and not (rule.kind == "required" and not self.types[rule.field].nullable)
        ]
        return PinnedContract(
            name=self.name, version=self.version, defaults=self.defaults, rules=rows
        )

    @property
    def primary_key(self) -> list[str]:
        """Fields of the primary key, in its order."""
        return next((key.fields for key in self.unique if key.primary), [])
