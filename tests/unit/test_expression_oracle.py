"""Every accepted operation gives in polars what DuckDB gives, over random rows with nulls."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.expression import parse_condition, parse_scalar
from streaming.expression import condition_to_polars, to_polars
from tests.unit.expression_oracle import FIELDS, Oracle, random_rows, same

_OPERATORS = [
    *("+", "-", "*", "/", "=", "<>", "<", "<=", ">", ">="),
    *("is distinct from", "is not distinct from"),
]
_NUMBER_PAIRS = [
    "i {} j",
    "n {} m",
    "i {} n",
    "d {} e",
    "d {} i",
    "n {} d",
    "f {} g",
    "f {} d",
    "n {} f",
    "h {} d",
]
_UNITS = ["year", "month", "day", "hour", "minute", "second"]
_EXTRACTED = [*_UNITS, "quarter", "week", "doy", "dow", "isodow"]
_TRUNCATED = [*_UNITS, "week", "quarter"]
_PAIRS_OF_TYPE = [("s", "t"), ("ts", "tm"), ("day", "date '1980-01-01'")]
_PLAIN = r"""
i // 3
i // -3
n // 7
n % 7
n % -7
i % 2
-i
-n
-d
-f
-h
-(-5)
abs(i)
abs(n)
abs(d)
abs(f)
d * 0.92
d + 1
d - 0.005
f * 0.5
i + 1
n * 2
d * 1e0
d / 3
i / 2
f / 3
f / 7.0
1 / f
i + 3000000000
0.1 + 0.2
0.5 * d * e
1
'x'
i + null
2 = coalesce(2, i)
coalesce(n, 7, i)
(2 = 2) or (2 = coalesce(e, i))
(1 = 2) and (2 = coalesce(e, i))
case when 1 = 1 then i + 1 else n end
case when 1 = 2 then i else i + 1 end
i = null
i < 1.5
n = f
i = 2.0
d = 0.5
d > f
f = 0
-2147483648 < i
round(d)
round(d, 1)
round(d, 2)
round(d, 5)
round(h, 3)
round(e, 0)
round(f)
floor(d)
ceil(d)
floor(f)
ceil(f)
floor(h)
ceil(h)
cast(d as int)
cast(d as bigint)
cast(d as decimal(10,1))
cast(d as decimal(14,3))
cast(d as double)
cast(e as double)
cast(h as double)
cast(n as int)
cast(n as double)
cast(i as decimal(10,2))
cast(n as decimal(20,1))
cast(i as varchar)
cast(d as varchar)
cast(b as varchar)
cast(day as varchar)
cast(b as int)
cast(day as timestamptz)
cast(ts as date)
case when abs(f) < 1e6 then cast(f as int) end
case when abs(f) < 1e6 then cast(f as decimal(18,1)) end
b and c
b or c
not b
b and null
b or null
not (b and c)
b = c
b <> c
b is true
b is false
b is not true
b is null
s is not null
b and i * i > 4
b or i * i > 4
i in (1, 2, -3)
i in (1, null)
i not in (1, 2)
i not in (1, null)
s in ('a', 'abc')
d in (1, 2.5)
f in (2.5, 1)
n in (i, 3)
day in ('1970-01-01')
s not in ('a')
i between -3 and 3
i not between j and 3
s between 'a' and 'b'
f between -1 and 1
s like 'a%'
s not like 'a%'
s like '%b%'
s like '_b_'
s like 'a.c'
s like 'x%y_z'
s like ''
s like '%'
s like '日%'
s like '$'
s like '%\%'
case when b then i else j end
case when b then s end
case when i > 0 then d else 1 end
case i when 1 then 'one' when -1 then 'minus' else s end
case when b then f else n end
case when b then null else i end
case when n is null then 0 when n > 9 then 1 else n * n end
coalesce(i, j)
coalesce(i, j, 0)
coalesce(s, t, 'x')
coalesce(d, i)
coalesce(f, n)
coalesce(null, i)
coalesce(i, n * n)
s || t
s || 'x' || t
concat(s, t)
concat(s, 'x')
lower(s)
upper(s)
length(s)
trim(s)
substring(s, 1, 2)
substring(s, 2)
substr(s, 2, 100)
substring(s, 3, 0)
substring(s, 10, 2)
string_split(s, 'b')
len(s)
len(words)
length(whole)
contains(s, 'b')
contains(s, t)
contains(s, '')
starts_with(s, 'a')
starts_with(s, t)
ends_with(s, 'c')
ends_with(t, s)
replace(s, 'a', 'xx')
replace(s, '.', '$1')
replace(s, 'b', '')
list_contains(words, 'abc')
list_contains(words, s)
list_contains(whole, 3)
list_contains(whole, n)
list_contains(string_split(s, 'b'), 'a')
contains(words, s)
words[1]
whole[2]
string_split(s, 'b')[2]
nullif(s, '')
nullif(s, t)
nullif(i, 0)
nullif(d, 0)
case when len(words) > 1 then words[2] else 'none' end
coalesce(whole[3], n, 0)
string_split(s, 'ab')
string_split(s || '|' || t, '|')
str_split(s, '本')
string_split(coalesce(s, ''), ' ')
ts >= '1970-01-01T00:00:00Z'
ts between '1970-01-01T00:00+01:00' and '2000-01-01T00:00Z'
tm > timestamptz '1980-01-01T00:00:00+00:00'
day < '2000-01-01'
"""
_EXPRESSIONS = [
    *(pair.format(operator) for pair in _NUMBER_PAIRS for operator in _OPERATORS),
    *(
        f"{left} {operator} {right}"
        for left, right in _PAIRS_OF_TYPE
        for operator in _OPERATORS[4:]
    ),
    *(f"extract({unit} from {field})" for unit in _EXTRACTED for field in ("ts", "day")),
    *(f"date_trunc('{unit}', {field})" for unit in _TRUNCATED for field in ("ts", "day")),
    *_PLAIN.strip().splitlines(),
]


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle(random_rows(seed=11, count=250))


@pytest.mark.parametrize("text", _EXPRESSIONS)
def test_expression_gives_what_duckdb_gives(text: str, oracle: Oracle) -> None:
    _assert_same(oracle, text)


@pytest.mark.parametrize("text", ["f / 3", "d / 7", "f / g", "3 / f", "d * e", "cast(d as double)"])
def test_result_does_not_depend_on_how_many_rows_are_computed_together(
    text: str, oracle: Oracle
) -> None:
    alone = [oracle.polars_answer(text, oracle.rows[row])[0] for row in range(60)]
    together = oracle.polars_answer(text)[:60]
    assert all(map(same, alone, together))


def _numbers() -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["i", "j", "e", "2", "0.5", "-3", "cast(b as int)", "length(s)"])
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-"]), inner),
            st.builds("({} * {})".format, leaf, leaf),
            st.builds("coalesce({}, {})".format, inner, leaf),
            st.builds("case when {} > {} then {} else {} end".format, inner, inner, inner, inner),
        ),
        max_leaves=4,
    )


def _conditions() -> st.SearchStrategy[str]:
    compare = st.builds(
        "({} {} {})".format,
        _numbers(),
        st.sampled_from(["=", "<", ">=", "<>", "is distinct from"]),
        _numbers(),
    )
    leaf = st.one_of(
        compare,
        st.sampled_from(["b", "c", "s = t", "ts < tm", "f > g", "s is null", "null", "true"]),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
            st.builds("(not {})".format, inner),
            st.builds("({} is null)".format, inner),
        ),
        max_leaves=5,
    )


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(_numbers(), _conditions().filter(lambda text: text != "null")))
def test_composed_expression_gives_what_duckdb_gives(text: str, oracle: Oracle) -> None:
    _assert_same(oracle, text)


def _assert_same(oracle: Oracle, text: str) -> None:
    expected, got = oracle.duckdb_answer(text), oracle.polars_answer(text)
    wrong = [
        (row, left, right)
        for row, (left, right) in enumerate(zip(expected, got, strict=True))
        if not same(left, right)
    ]
    assert not wrong, f"{text}: (row, duckdb, polars) {wrong[:3]}"


def test_null_condition_is_not_true(oracle: Oracle) -> None:

    kept = oracle.rows.filter(condition_to_polars(parse_condition("i > 0", FIELDS)))
    expected = [value for value in oracle.rows["i"] if value is not None and value > 0]
    assert kept["i"].to_list() == expected
    assert (
        oracle.rows.select(condition_to_polars(parse_condition("i > 0", FIELDS)))["i"].dtype
        == pl.Boolean
    )


@pytest.mark.parametrize(
    "text", [text for text in _EXPRESSIONS if parse_scalar(text, FIELDS).columns]
)
def test_expression_gives_the_same_inside_a_group(text: str, oracle: Oracle) -> None:
    rows = oracle.rows.with_row_index("row").with_columns(part=pl.col("row") % 97)
    value = to_polars(parse_scalar(text, FIELDS))
    inside = rows.group_by("part", maintain_order=True).agg(x=value, count=value.count())
    outside = rows.with_columns(x=value).group_by("part", maintain_order=True)
    assert inside.equals(outside.agg(pl.col("x"), count=pl.col("x").count()))
