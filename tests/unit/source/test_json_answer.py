import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.json_answer import JsonAnswer
from common.errors import SourceRefusedError

NAME = st.text(alphabet='ab"\\é\n', max_size=3).filter(lambda name: "." not in name)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAME, inner, max_size=4),
    max_leaves=12,
)


def walked(tree: Any, names: list[str]) -> Any:  # noqa: ANN401 (any JSON)
    for name in names:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


@given(tree=VALUE, names=st.lists(NAME.filter(bool), max_size=3), indent=st.sampled_from([None, 1]))
def test_values_and_records_are_those_that_python_finds(
    tree: object, names: list[str], indent: int | None
) -> None:
    for name in reversed(names):
        tree = {"other": [tree], name: tree, "last": 0} if name != "other" else {name: tree}
    answer = JsonAnswer(json.dumps(tree, indent=indent), "API")
    path = ".".join(names)
    found = walked(tree, names)
    assert answer.value(path) == found
    assert answer.value(f"{path}.none" if path else "none") is walked(tree, [*names, "none"])
    if isinstance(found, list):
        assert [json.loads(text) for text in answer.records(path)] == found
    else:
        with pytest.raises(SourceRefusedError, match="expected a list"):
            answer.records(path)


def test_records_are_the_texts_as_they_came() -> None:
    text = '{"a": 1, "a": {"b" :[ 1.10 , {"x":1e400} ,"\\u00e9" ]}}'
    assert JsonAnswer(text, "API").records("a.b") == ["1.10", '{"x":1e400}', '"\\u00e9"']


@pytest.mark.parametrize("text", ["", "{", "[1] 2", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(SourceRefusedError, match="API: expected"):
        JsonAnswer(text, "API")
