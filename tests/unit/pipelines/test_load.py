from pathlib import Path

import pytest

from common.errors import PipelineSpecError, UnknownNameError, UsageError
from pipelines.load import CATALOG_DIR, find_pipeline, load_stream, pipeline_files
from pipelines.stream import EventTime, SinkSpec, StreamSpec, Trigger, Window
from tests.unit.pipelines.stream_file import write


def test_stream_is_read_with_every_default_filled_in(tmp_path: Path) -> None:
    assert load_stream(write(tmp_path)) == StreamSpec(
        name="sales",
        topic="sales",
        fields={
            "ts": "timestamp_ms",
            "amount": "decimal(12,2)",
            "category": "string",
            "customer": "int64?",
            "weight": "float64?",
        },
        event_time=EventTime(
            field="ts", out_of_orderness_ms=0, idle_timeout_ms=30_000, max_ahead_ms=3_600_000
        ),
        where="amount > 0",
        derive={"euros": "amount * 0.92"},
        group_by=["category"],
        window=Window(kind="tumbling", size_ms=60_000),
        aggregate={"revenue": "sum(amount)"},
        sinks=[SinkSpec(kind="clickhouse", table="sales_1m")],
        trigger=Trigger(interval_ms=1_000, max_records=100_000),
    )


def test_stream_is_read_with_every_option(tmp_path: Path) -> None:
    spec = load_stream(
        write(
            tmp_path,
            ("name: sales", "name: sales\ndescription: What sells\nowner: analytics"),
            (
                "{field: ts}",
                "{field: ts, out_of_orderness: 2s, idle_timeout: 5s, max_ahead: 2h, max_drift: 1d}",
            ),
            (
                "{tumbling: 1m}",
                "{tumbling: 1m, offset: 15s}\nlate: {allowed: 10s, to: sales.late}\nemit: final",
            ),
            (
                "  - click",
                "  - timescaledb: {table: t, retention: 90d, compress_after: 7d}\n  - click",
            ),
            ("sinks:", "trigger: {interval: 250ms, max_records: 7}\nsinks:"),
        )
    )
    assert (spec.description, spec.owner) == ("What sells", "analytics")
    assert spec.event_time == EventTime(
        field="ts",
        out_of_orderness_ms=2_000,
        idle_timeout_ms=5_000,
        max_ahead_ms=7_200_000,
        max_drift_ms=86_400_000,
    )
    assert spec.window == Window(kind="tumbling", size_ms=60_000, offset_ms=15_000)
    assert (spec.late.allowed_ms, spec.late.to) == (10_000, "sales.late")
    assert spec.sinks[0] == SinkSpec(
        kind="timescaledb",
        table="t",
        retention_ms=90 * 86_400_000,
        compress_after_ms=7 * 86_400_000,
    )
    assert spec.trigger == Trigger(interval_ms=250, max_records=7)


def test_specification_survives_json(tmp_path: Path) -> None:
    spec = load_stream(write(tmp_path))
    assert StreamSpec.model_validate_json(spec.model_dump_json()) == spec


def test_result_hash_ignores_what_changes_no_result(tmp_path: Path) -> None:
    spec = load_stream(write(tmp_path))
    housekeeping = load_stream(
        write(
            tmp_path,
            ("name: sales", "name: sales\nowner: me"),
            ("sinks:", "trigger: {interval: 9s}\nlimits: {parallelism: 3}\nsinks:"),
        )
    )
    other = load_stream(write(tmp_path, ("sum(amount)", "max(amount)")))
    assert housekeeping.result_hash() == spec.result_hash()
    assert other.result_hash() != spec.result_hash()


def test_name_resolves_in_the_project_before_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    own = tmp_path / "pipelines" / "sales-1m.yaml"
    own.write_text("kind: stream\n", encoding="utf-8")
    assert find_pipeline("sales-1m", tmp_path) == own
    assert find_pipeline("flights-1h", tmp_path) == CATALOG_DIR / "flights-1h.yaml"
    assert pipeline_files(tmp_path)["sales-1m"] == own


def test_path_is_taken_as_given(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert find_pipeline(str(path), tmp_path / "elsewhere") == path


def test_unknown_name_gets_a_near_miss(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean `sales-1m`"):
        find_pipeline("sale-1m", tmp_path)


def test_missing_file_is_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="expected a file, got none"):
        find_pipeline("./nothing.yaml", tmp_path)


def test_file_that_is_no_text_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="expected readable UTF-8 text"):
        load_stream(path)


def test_every_problem_of_a_file_is_reported_with_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, ("{tumbling: 1m}", "{tumblng: 1m}"), ("sum(amount)", "sum(amout)"))
    with pytest.raises(PipelineSpecError) as caught:
        load_stream(path)
    assert str(caught.value).splitlines() == [
        f"{path}:15:10  window.tumblng: unknown option, expected one of tumbling, sliding, "
        "session; did you mean `tumbling`?",
        f"{path}:17:12  aggregate.revenue: `sum(amout)`: no field `amout` in `source.fields`; "
        "did you mean `amount`?",
        "2 problems, nothing started",
    ]


def test_yaml_is_read_as_version_1_2(tmp_path: Path) -> None:
    spec = load_stream(
        write(tmp_path, ("category", "no"), ("name: sales", "name: sales\nowner: on"))
    )
    assert spec.group_by == ["no"]
    assert spec.owner == "on"


@pytest.mark.parametrize(
    "text",
    ["kind: \x00", "[" * 3_000, "a: 1\n---\nb: 2", "a: *b", "a:\tb: c", "&a [*a]", "- a", ""],
)
def test_text_that_is_no_pipeline_is_a_problem_of_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PipelineSpecError, match="1 problem, nothing started"):
        load_stream(path)


@pytest.mark.parametrize(
    ("written", "window"),
    [
        (
            "{sliding: 60s, every: 7s, offset: -6s}",
            Window(kind="sliding", size_ms=60_000, slide_ms=7_000, offset_ms=-6_000),
        ),
        (
            "{tumbling: 1m, offset: -15s}",
            Window(kind="tumbling", size_ms=60_000, offset_ms=-15_000),
        ),
        ("{session: 30m}", Window(kind="session", size_ms=1_800_000)),
        (
            "{session: 30m, max_length: 12h}",
            Window(kind="session", size_ms=1_800_000, max_length_ms=43_200_000),
        ),
    ],
)
def test_sessions_sliding_window_and_offset_before_the_epoch_are_read(
    written: str, window: Window, tmp_path: Path
) -> None:
    assert load_stream(write(tmp_path, ("{tumbling: 1m}", written))).window == window
