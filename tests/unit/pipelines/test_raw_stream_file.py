"""Files of streams without a window."""

from pathlib import Path

import pytest

from common.errors import PipelineSpecError
from pipelines.load import CATALOG_DIR, load_pipeline, load_stream
from pipelines.stream_render import render_stream
from tests.unit.pipelines.stream_file import write

WINDOWED = "group_by: [category]\nwindow: {tumbling: 1m}\naggregate:\n  revenue: sum(amount)\n"


def test_stream_without_window_is_raw_and_identified_by_position(tmp_path: Path) -> None:
    spec = load_stream(write(tmp_path, (WINDOWED, "")))
    assert spec.raw
    assert spec.identity == []
    assert "identity" not in render_stream(spec)


def test_identity_is_read_and_written_back(tmp_path: Path) -> None:
    path = write(tmp_path, (WINDOWED, "identity: [category, euros]\n"))
    spec = load_stream(path)
    assert spec.identity == ["category", "euros"]
    assert render_stream(spec)["identity"] == ["category", "euros"]


def test_shipped_raw_stream_has_neither_window_nor_identity() -> None:
    spec = load_stream(CATALOG_DIR / "sales-raw.yaml")
    assert spec.raw
    assert [sink.kind for sink in spec.sinks] == ["clickhouse", "timescaledb"]


def test_an_identity_changes_the_results_and_none_leaves_older_hashes() -> None:
    spec = load_stream(CATALOG_DIR / "sales-raw.yaml")
    windowed = load_stream(CATALOG_DIR / "sales-1m.yaml")
    assert spec.model_copy(update={"identity": ["event_id"]}).result_hash() != spec.result_hash()
    assert windowed.result_hash() == "4fde769b49551f7e"


@pytest.mark.parametrize(
    ("instead", "expected"),
    [
        ("late: {allowed: 1s}\n", "late: expected only with `window`, got it without; nothing is"),
        ("emit: {updates: 5s}\n", "emit: expected only with `window`"),
        ("group_by: [category]\n", "group_by: expected only with `window`"),
        ("identity: [catgory]\n", "identity[0]: no field or derived column `catgory`; did you"),
        ("identity: [weight]\n", "identity[0]: expected a type that keys can have"),
        ("identity: [customer]\n", "identity[0]: expected a column that is never null"),
        ("identity: [ts, ts]\n", "identity[1]: expected each column once, got `ts` again"),
        (
            WINDOWED + "identity: [category]\n",
            "identity: expected only without `window`, got it beside",
        ),
    ],
)
def test_mistake_in_a_raw_stream_is_told_with_its_place(
    tmp_path: Path, instead: str, expected: str
) -> None:
    with pytest.raises(PipelineSpecError, match="1 problem, nothing started") as refused:
        load_pipeline(write(tmp_path, (WINDOWED, instead)))
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{field: ts}", "{field: ts, close_after: 1m}", "event_time.close_after: expected only"),
        ("int64?", "list<list<int64>>", "source.fields.customer: expected a list of plain values"),
        ("weight: float64?", "_row: float64?", "source.fields._row: expected a name of your own"),
    ],
)
def test_part_that_a_raw_stream_cannot_have_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    with pytest.raises(PipelineSpecError, match="1 problem, nothing started") as refused:
        load_pipeline(write(tmp_path, (WINDOWED, ""), (old, new)))
    assert expected in str(refused.value)


def test_housekeeping_of_a_hypertable_is_refused_beside_an_identity(tmp_path: Path) -> None:
    sink = "timescaledb: {table: sales_1m, retention: 1d}"
    changes = (WINDOWED, "identity: [category]\n"), ("clickhouse: {table: sales_1m}", sink)
    with pytest.raises(PipelineSpecError, match="expected only without `identity`"):
        load_pipeline(write(tmp_path, *changes))
    assert load_stream(write(tmp_path, (WINDOWED, ""), changes[1])).sinks[0].retention_ms
