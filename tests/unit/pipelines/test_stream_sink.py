from pathlib import Path

import pytest

from common.errors import PipelineSpecError
from pipelines.load import load_pipeline, load_stream
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Window
from pipelines.stream_render import render_stream
from tests.unit.pipelines.stream_file import write


def test_topic_and_path_are_targets_of_their_sinks(tmp_path: Path) -> None:
    more = "  - kafka: {topic: sales.minutes}\n  - lake: {path: shop/sales-1m}\n  - click"
    spec = load_stream(write(tmp_path, ("  - click", more)))
    assert [sink.name for sink in spec.sinks] == [
        "kafka:sales.minutes",
        "lake:shop/sales-1m",
        "clickhouse:sales_1m",
    ]
    assert render_stream(spec)["sinks"] == [
        {"kafka": {"topic": "sales.minutes"}},
        {"lake": {"path": "shop/sales-1m"}},
        {"clickhouse": {"table": "sales_1m"}},
    ]


@pytest.mark.parametrize(
    ("sinks", "expected"),
    [
        ("kafka: {topic: sales}", "sinks[0].kafka.topic: expected a topic of its own, got `sales`"),
        ("kafka: {topic: sales.dlq}", "got `sales.dlq`, the topic of dead letters"),
        ("kafka: {topic: t}\n  - kafka: {topic: t}", "sinks[1].kafka.topic: expected a topic of"),
        ("kafka: {table: t}", "sinks[0].kafka.table: unknown option"),
        ("lake: {path: a/b}\n  - lake: {path: a}", "sinks[1].lake.path: expected a path of its"),
        ("lake: {path: a}\n  - lake: {path: a/b/c}", "got `a/b/c` beside `a`"),
        ("lake: {path: ../a}", "sinks[0].lake.path: expected a path of segments"),
        ("lake: {path: /a}", "sinks[0].lake.path: expected a path of segments"),
        ("lake: {path: a//b}", "sinks[0].lake.path: expected a path of segments"),
        ("lake: {path: a/_b}", "sinks[0].lake.path: expected a path of segments"),
        (f"lake: {{path: {'a' * 201}}}", "sinks[0].lake.path: expected a path of segments"),
    ],
)
def test_wrong_sink_is_refused_with_its_place(tmp_path: Path, sinks: str, expected: str) -> None:
    path = write(tmp_path, ("clickhouse: {table: sales_1m}", sinks))
    with pytest.raises(PipelineSpecError) as refused:
        load_pipeline(path)
    assert expected in str(refused.value)


def test_topic_of_late_events_is_no_sink(tmp_path: Path) -> None:
    sinks = "late: {to: late}\nsinks:\n  - kafka: {topic: late}\n"
    with pytest.raises(PipelineSpecError, match="`late`, the topic of late events"):
        load_pipeline(write(tmp_path, ("sinks:\n", sinks)))


def test_table_of_late_events_is_read_and_rendered(tmp_path: Path) -> None:
    late = "late: {allowed: 10s, to: {postgres: {table: sales_late}}}\nsinks:"
    spec = load_stream(write(tmp_path, ("sinks:", late)))
    assert spec.late.to is None
    assert spec.late_table == SinkSpec(kind="postgres", table="sales_late")
    assert spec.keeps_late
    assert render_stream(spec)["late"] == {
        "allowed": "10s",
        "to": {"postgres": {"table": "sales_late"}},
    }


@pytest.mark.parametrize("table", ["sales_1m", "SALES_1M", "sales_1m_final"])
def test_table_of_late_events_is_that_of_no_sink(tmp_path: Path, table: str) -> None:
    late = f"late: {{to: {{clickhouse: {{table: {table}}}}}}}\nsinks:"
    with pytest.raises(
        PipelineSpecError, match=r"late\.to\.clickhouse\.table: expected a table and a view"
    ):
        load_pipeline(write(tmp_path, ("sinks:", late)))


def test_paths_side_by_side_and_one_name_in_each_kind_are_taken(tmp_path: Path) -> None:
    more = "  - lake: {path: a}\n  - lake: {path: ab}\n  - kafka: {topic: sales_1m}\n  - click"
    assert len(load_stream(write(tmp_path, ("  - click", more))).sinks) == 4


def test_hash_of_a_specification_stays_what_saved_states_were_computed_with() -> None:
    sinks = [
        SinkSpec(kind="clickhouse", table="t"),
        SinkSpec(kind="timescaledb", table="t", retention_ms=5),
    ]
    spec = StreamSpec(
        name="s", topic="t", fields={"a": "int64"}, event_time=EventTime(field="a"), sinks=sinks
    )
    assert spec.result_hash() == "39e3a4b71502fbff"
    windowed = spec.model_copy(update={"window": Window(kind="session", size_ms=60_000)})
    assert windowed.result_hash() == "27e2db8710dcaa11"
    cut = Window(kind="session", size_ms=60_000, max_length_ms=3_600_000)
    assert windowed.model_copy(update={"window": cut}).result_hash() != windowed.result_hash()
