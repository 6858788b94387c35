import pytest

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression import parse_aggregate, parse_condition, parse_scalar

FIELDS: dict[str, FieldType] = {
    name: parse_field_type(kind)
    for name, kind in {
        "i": "int32",
        "n": "int64?",
        "f": "float64",
        "d": "decimal(12,2)",
        "deep": "decimal(38,36)",
        "s": "string",
        "b": "bool?",
        "ts": "timestamp_ms",
        "day": "date",
        "j": "json",
        "l": "list<string>",
    }.items()
}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("i + 1", "int32"),
        ("i + 3000000000", "int64"),
        ("i * n", "int64?"),
        ("i / 2", "float64"),
        ("d * 0.92", "decimal(15,4)"),
        ("d + 1", "decimal(13,2)"),
        ("d / 2", "float64"),
        ("d * f", "float64"),
        ("round(d, 1)", "decimal(12,1)"),
        ("floor(d)", "decimal(11,0)"),
        ("d > 0", "bool"),
        ("n > 0", "bool?"),
        ("n is null", "bool"),
        ("n is not distinct from 3", "bool"),
        ("coalesce(n, 0)", "int64"),
        ("case when b then s end", "string?"),
        ("case when b then i else d end", "decimal(12,2)"),
        ("s || 'x'", "string"),
        ("length(s)", "int64"),
        ("extract(hour from ts)", "int64"),
        ("date_trunc('day', ts)", "timestamp"),
        ("ts", "timestamp_ms"),
        ("cast(d as bigint)", "int64"),
        ("n % 7", "int64?"),
        ("-2147483648", "int32"),
    ],
)
def test_row_expression_has_its_type(text: str, kind: str) -> None:
    assert str(parse_scalar(text, FIELDS).type) == kind


@pytest.mark.parametrize(
    ("text", "function", "kind"),
    [
        ("count(*)", "count", "int64"),
        ("count(n)", "count", "int64"),
        ("count(distinct s)", "count_distinct", "int64"),
        ("sum(i)", "sum", "int64?"),
        ("sum(d)", "sum", "decimal(38,2)?"),
        ("sum(f)", "sum", "float64?"),
        ("avg(n)", "avg", "float64?"),
        ("avg(d)", "avg", "decimal(38,6)?"),
        ("avg(f)", "avg", "float64?"),
        ("min(ts)", "min", "timestamp_ms?"),
        ("max(s)", "max", "string?"),
        ("SUM(d * 2)", "sum", "decimal(38,2)?"),
    ],
)
def test_aggregate_has_its_type(text: str, function: str, kind: str) -> None:
    parsed = parse_aggregate(text, FIELDS)
    assert (parsed.function, str(parsed.type)) == (function, kind)


@pytest.mark.parametrize("text", ["count(*)", "count(1)", "count('x')"])
def test_count_of_all_has_no_argument(text: str) -> None:
    assert parse_aggregate(text, FIELDS).argument is None


def test_columns_are_named_in_the_order_of_their_first_use() -> None:
    assert parse_scalar("case when n > i then i + n else f end", FIELDS).columns == ("n", "i", "f")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dd > 0", "no field `dd` in `source.fields`; did you mean `d`"),
        ("N > 0", "no field `N` in `source.fields`; did you mean `n`"),
        ("x.d > 0", "expected a plain field name"),
        ("lowr(s)", "unknown function `lowr`.*did you mean `lower`"),
        ("i ** 2", "unknown function"),
        ("s > 1", "expected values of one type, got `string` and `int32`"),
        ("s + 1", "expected numbers, got `string`"),
        ("b < b", "expected values with an order"),
        ("j = j", "`json` cannot be compared"),
        ("l = l", "cannot be compared"),
        ("i and b", "expected true or false, got `int32`"),
        ("(select 1)", "a subquery is not allowed"),
        ("i in (select 1)", "option `query`"),
        ("s > 1", "^`s > 1`: expected values of one type"),
        ("sum(i) over ()", "a window function is not allowed"),
        ("sum(i)", "an aggregate is not allowed"),
        ("i; n", "several statements"),
        ("i n", "an alias is not allowed"),
        ("i +", "expected one SQL expression"),
        ("", "expected one SQL expression"),
        ("null", "expected a value with a type"),
        ("n // 0", "a written number other than 0"),
        ("n % i", "a written number other than 0"),
        ("round(f, 2)", "rounding a float64 to decimal places is not exact"),
        ("cast(s as int)", "is not computed as in DuckDB"),
        ("cast(f as varchar)", "is not computed as in DuckDB"),
        ("try_cast(s as int)", "try_cast|trycast|not computed"),
        ("s like s", "expected quoted text after `like`"),
        ("s like 'a' escape '!'", "refused|not computed|escape"),
        ("s ilike 'a'", "`ilike` is not allowed"),
        ("trim(both 'x' from s)", "expected the plain form"),
        ("substring(s, 0, 1)", "of at least 1"),
        ("substring(s, i)", "a written whole number"),
        ("ts > '2026-05-01'", "expected a time with its zone"),
        ("ts > timestamp '2026-05-01 00:00:00'", "expected a time with its zone"),
        ("ts + interval 1 day", "an interval is not allowed"),
        ("extract(epoch from ts)", "expected one of year, month"),
        ("deep * deep", "72 digits after the point"),
        ("case when b then s else 1 end", "expected values of one type"),
        ("coalesce(null, null)", "got only null"),
        ("*", "`\\*`|one SQL expression"),
    ],
)
def test_row_expression_that_cannot_be_computed_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PipelineSpecError, match=reason):
        parse_scalar(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("d", "expected one aggregate"),
        ("sum(d) + 1", "expected one aggregate"),
        ("sum(*)", "only count takes"),
        ("sum(s)", "expected a number, got `string`"),
        ("sum(distinct d)", "expected `distinct` in count only"),
        ("count(distinct s, i)", "over one expression|tuple"),
        ("count(distinct f)", "counted exactly"),
        ("max(j)", "expected a value with an order"),
        ("avg(deep)", "at most 34 digits"),
        ("max(i, 2)", "option"),
        ("sum(sum(i))", "an aggregate is not allowed"),
        ("count(*) filter (where i > 1)", "expected one aggregate"),
        ("count(x)", "no field `x`"),
        ("sum(1)", "expected a field to aggregate"),
        ("count(distinct 'x')", "expected a field to aggregate"),
    ],
)
def test_aggregate_that_cannot_be_computed_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PipelineSpecError, match=reason):
        parse_aggregate(text, FIELDS)


def test_condition_must_be_true_or_false() -> None:
    with pytest.raises(PipelineSpecError, match="expected a condition that is true or false"):
        parse_condition("d", FIELDS)


@pytest.mark.parametrize("deep", ["(" * 5_000 + "i" + ")" * 5_000, "i" + " + i" * 5_000])
def test_expression_of_great_depth_is_refused(deep: str) -> None:
    with pytest.raises(PipelineSpecError, match="less depth"):
        parse_scalar(deep, FIELDS)
