import pytest

from common.errors import PipelineSpecError
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type
from pipelines.expression import parse_condition, parse_scalar
from pipelines.expression_aggregate import parse_aggregate

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
        ("mean(d)", "avg", "decimal(38,6)?"),
        ("count_if(i > 1)", "count", "int64"),
        ("bool_and(b)", "bool_and", "bool?"),
        ("bool_or(i > 1)", "bool_or", "bool?"),
        ("variance(n)", "var_samp", "float64?"),
        ("var_samp(d)", "var_samp", "float64?"),
        ("var_pop(f)", "var_pop", "float64?"),
        ("stddev(n)", "stddev_samp", "float64?"),
        ("stddev_samp(n)", "stddev_samp", "float64?"),
        ("stddev_pop(n)", "stddev_pop", "float64?"),
        ("first(s)", "first", "string?"),
        ("last(l)", "last", "list<string>?"),
        ("first(j)", "first", "json?"),
        ("arg_min(d, ts)", "arg_min", "decimal(12,2)?"),
        ("min_by(d, ts)", "arg_min", "decimal(12,2)?"),
        ("arg_max(s, ts) filter (where b)", "arg_max", "string?"),
        ("approx_count_distinct(f)", "approx_count_distinct", "int64"),
        ("approx_quantile(d, 0.95)", "approx_quantile", "float64?"),
        ("approx_quantile(i, 1)", "approx_quantile", "float64?"),
        ("top_k(s, 3)", "top_k", "list<string>"),
        ("Top_K(d, 1000)", "top_k", "list<decimal(12,2)>"),
        ("sum(i) filter (where b)", "sum", "int64?"),
    ],
)
def test_aggregate_has_its_type(text: str, function: str, kind: str) -> None:
    parsed = parse_aggregate(text, FIELDS, "ts")
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
        ("len(i)", "expected a string or a list, got `int32`"),
        ("l[0]", "expected a written place of 1 or more"),
        ("l[i]", "expected a written place of 1 or more"),
        ("i[1]", "expected a list, got `int32`"),
        ("replace(s, s, 'x')", "expected a text to replace written out"),
        ("replace(s, '', 'x')", "expected a text to replace of a letter or more"),
        ("list_contains(l, true)", "expected a value of the list's type"),
        ("list_contains(s, 'x')", "expected a list, got `string`"),
        ("contains(s, 1)", "expected a string, got `int32`"),
        ("string_split(s, s)", "expected a separator written out"),
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
        ("extract(epoch from ts)", "expected one of year, quarter, month"),
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
        ("count(x)", "no field `x`"),
        ("sum(1)", "expected a field to aggregate"),
        ("count(distinct 'x')", "expected a field to aggregate"),
        ("count(*) filter (where i)", "expected a condition that is true or false"),
        ("count(*) filter (where ii > 1)", "no field `ii`"),
        ("count(*) filter (where sum(i) > 1)", "an aggregate is not allowed"),
        ("sum(i) filter (where b) over ()", "expected one aggregate"),
        ("i filter (where b)", "expected one aggregate|SQL expression"),
        ("count_if(i)", "expected a condition that is true or false"),
        ("count_if(i > 1, b)", "expected|SQL expression"),
        ("count_if(distinct b)", "refused|expected"),
        ("bool_and(i)", "expected true or false, got `int32`"),
        ("var_samp(s)", "expected a number, got `string`"),
        ("var_samp(deep)", "a decimal of at most 18 digits"),
        ("stddev(distinct i)", "expected `distinct` in count only"),
        ("first(i order by ts)", "refused|not allowed|plain"),
        ("first(i) ignore nulls", "expected one aggregate"),
        ("last(i, 2)", "expected|SQL expression"),
        ("arg_min(i, n)", "that of the event time, `ts`, got `n`"),
        ("arg_min(i, ts, 2)", "option"),
        ("arg_max(i)", "expected|SQL expression"),
        ("approx_count_distinct(j)", "a value that can be compared"),
        ("approx_count_distinct(i, 0.1)", "option|expected one argument"),
        ("approx_quantile(i)", "a written quantile|SQL expression"),
        ("approx_quantile(i, 1.5)", "a quantile of 0 to 1"),
        ("approx_quantile(i, -0.5)", "a written quantile"),
        ("approx_quantile(i, n)", "a written quantile"),
        ("approx_quantile(i, '0.5')", "a written quantile"),
        ("approx_quantile(i, [0.5, 0.9])", "a written quantile"),
        ("approx_quantile(i, 1e-3)", "a quantile of 0 to 1"),
        ("approx_quantile(s, 0.5)", "expected a number"),
        ("median(i)", "write `approx_quantile"),
        ("quantile_cont(i, 0.5)", "write `approx_quantile"),
        ("mode(s)", "write `top_k"),
        ("any_value(s)", "expected one aggregate|write `first"),
        ("approx_top_k(s, 3)", "write `top_k"),
        ("top_k(s)", "expected 2 arguments of top_k, got 1"),
        ("top_k(s, 0)", "a written whole number of 1 to 1,000"),
        ("top_k(s, 1001)", "a written whole number of 1 to 1,000"),
        ("top_k(s, i)", "a written whole number"),
        ("top_k(f, 2)", "counted exactly"),
        ("mean(d, d)", "expected 1 argument of mean, got 2"),
        ("string_agg(s, ',')", "expected one aggregate"),
    ],
)
def test_aggregate_that_cannot_be_computed_is_refused(text: str, reason: str) -> None:
    with pytest.raises(PipelineSpecError, match=reason):
        parse_aggregate(text, FIELDS, "ts")


def test_order_by_event_time_needs_an_event_time() -> None:
    with pytest.raises(PipelineSpecError, match="a field of the event time, got `ts`"):
        parse_aggregate("arg_min(i, ts)", FIELDS)


def test_columns_of_the_filter_are_read_as_well() -> None:
    assert parse_aggregate("sum(i) filter (where n > i)", FIELDS).columns == ("i", "n")
    assert parse_aggregate("count_if(n > 1 or b)", FIELDS).columns == ("n", "b")


def test_condition_must_be_true_or_false() -> None:
    with pytest.raises(PipelineSpecError, match="expected a condition that is true or false"):
        parse_condition("d", FIELDS)


@pytest.mark.parametrize("deep", ["(" * 5_000 + "i" + ")" * 5_000, "i" + " + i" * 5_000])
def test_expression_of_great_depth_is_refused(deep: str) -> None:
    with pytest.raises(PipelineSpecError, match="less depth"):
        parse_scalar(deep, FIELDS)
