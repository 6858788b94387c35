"""What a file may say beside `expand`."""

from pathlib import Path

import pytest

from common.errors import PipelineSpecError
from pipelines.load import load_stream
from tests.unit.pipelines.stream_file import write

RAW = (
    ("group_by: [category]\nwindow: {tumbling: 1m}\naggregate:\n  revenue: sum(amount)\n", ""),
    ("sinks:", "transform: [{STEP}]\nsinks:"),
)


def test_a_raw_stream_takes_steps_and_expansions(tmp_path: Path) -> None:
    step = "derive: {words: \"string_split(category, ' ')\"}"
    spec = load_stream(write(tmp_path, *RAW, ("STEP", step)))
    assert spec.transform[0].derive == {"words": "string_split(category, ' ')"}
    expand = "expand: {word: \"unnest(string_split(category, ' '))\"}"
    spec = load_stream(write(tmp_path, *RAW, ("STEP", expand)))
    assert list(spec.transform[0].expand) == ["word"]


@pytest.mark.parametrize(
    ("identity", "fits"),
    [("ts", False), ("ts, _element", True), ("ts, long", True), ("ts, early", False)],
)
def test_by_identity_the_rows_of_a_record_must_differ(
    tmp_path: Path,
    identity: str,
    fits: bool,
) -> None:
    steps = (
        "{derive: {early: \"coalesce(category, '')\"}}, "
        "{expand: {word: \"unnest(string_split(category, ' '))\"}}, "
        '{derive: {long: "coalesce(len(word), 0)"}}'
    )
    raw = (RAW[0], ("sinks:", f"transform: [{steps}]\nidentity: [{identity}]\nsinks:"))
    path = write(tmp_path, *raw)
    if fits:
        assert len(load_stream(path).identity) == 2
        return
    with pytest.raises(PipelineSpecError, match="all rows of a record would be one"):
        load_stream(path)


def test_deduplication_compares_records_and_not_what_they_are_expanded_to(tmp_path: Path) -> None:
    steps = "{expand: {word: \"unnest(string_split(category, ' '))\"}}"
    more = f"transform: [{steps}]\ndeduplicate: {{by: [COLUMN], within: 1h}}\nsinks:"
    path = write(tmp_path, ("sinks:", more), ("COLUMN", "category"))
    assert load_stream(path).deduplicate is not None
    with pytest.raises(PipelineSpecError, match="before `expand`, got `word`"):
        load_stream(write(tmp_path, ("sinks:", more), ("COLUMN", "word")))
