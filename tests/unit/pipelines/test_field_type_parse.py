import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from contracts.field_type import FieldType
from contracts.field_type_parse import parse_field_type

_PLAIN = [
    "string",
    "int32",
    "int64",
    "float64",
    "bool",
    "timestamp",
    "timestamp_ms",
    "date",
    "uuid",
]


def _decimals() -> st.SearchStrategy[FieldType]:
    digits = st.integers(1, 38)
    pairs = digits.flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p)))
    return st.builds(
        lambda pair, nullable: FieldType(
            "decimal", precision=pair[0], scale=pair[1], nullable=nullable
        ),
        pairs,
        st.booleans(),
    )


def _types() -> st.SearchStrategy[FieldType]:
    plain = st.builds(
        lambda base, nullable: FieldType(base, nullable=nullable),
        st.sampled_from(_PLAIN),
        st.booleans(),
    )
    return st.recursive(
        plain | _decimals(),
        lambda inner: st.builds(
            lambda element, nullable: FieldType("list", element=element, nullable=nullable),
            inner,
            st.booleans(),
        ),
        max_leaves=3,
    )


@given(_types())
def test_field_type_survives_writing_and_reading(kind: FieldType) -> None:
    assert parse_field_type(str(kind)) == kind


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("strng", "`string`"),
        ("int", "`int64`"),
        ("float?", "`float64\\?`"),
        ("decimal", r"`decimal\(12,2\)`"),
        ("Timestamp", "`timestamp`"),
    ],
)
def test_unknown_field_type_names_a_near_miss(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {hint}"):
        parse_field_type(text)


@pytest.mark.parametrize("text", ["decimal(0,0)", "decimal(39,1)", "decimal(2,3)"])
def test_decimal_beyond_its_bounds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="p of 1 to 38 and s of 0 to p"):
        parse_field_type(text)


@pytest.mark.parametrize("text", ["", "?", "list<>", "list<strng>", "decimal(12;2)", "string??"])
def test_text_that_is_no_field_type_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="field type"):
        parse_field_type(text)
