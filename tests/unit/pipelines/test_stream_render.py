import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.load import check_pipeline
from pipelines.stream import (
    Bounds,
    Deduplicate,
    EventTime,
    Late,
    SinkSpec,
    StreamSpec,
    Trigger,
    Window,
)
from pipelines.stream_render import render_stream
from pipelines.transform import Step

_DURATION_MS = st.integers(1, 10**10)


def _windows(size_ms: int) -> st.SearchStrategy[Window]:
    size = st.just(size_ms)
    offset_ms = st.integers(1 - size_ms, size_ms - 1)
    longest_ms = st.none() | st.integers(size_ms, 10**11)
    return st.builds(
        Window, kind=st.just("tumbling"), size_ms=size, offset_ms=offset_ms
    ) | st.builds(Window, kind=st.just("session"), size_ms=size, max_length_ms=longest_ms)


def _specs() -> st.SearchStrategy[StreamSpec]:
    optional = st.none() | _DURATION_MS
    return st.builds(
        StreamSpec,
        name=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
        description=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
        topic=st.just("t"),
        fields=st.just({"ts": "timestamp?", "amount": "decimal(12,2)?", "key": "list<string>?"}),
        event_time=st.builds(
            EventTime,
            field=st.just("ts"),
            out_of_orderness_ms=st.integers(0, 10**10),
            idle_timeout_ms=_DURATION_MS,
            max_ahead_ms=st.integers(0, 10**10),
            max_drift_ms=optional,
        ),
        where=st.none() | st.just("amount > 0 and ts is not null"),
        derive=st.just({"b": "amount * 2", "c": "b + 1"}),
        transform=st.just(
            [
                Step(expand={"k": "unnest(key)"}),
                Step(where="k <> 'x'"),
                Step(derive={"d": "upper(k)"}),
            ]
        )
        | st.just([]),
        group_by=st.just(["c"]),
        window=_DURATION_MS.flatmap(_windows),
        deduplicate=st.none()
        | st.builds(Deduplicate, by=st.just(["ts", "b"]), within_ms=_DURATION_MS),
        aggregate=st.just({"n": "count(*)", "m": "max(b)"}),
        late=st.builds(Late, allowed_ms=st.integers(0, 10**6)),
        sinks=st.lists(
            st.builds(
                SinkSpec,
                kind=st.just("timescaledb"),
                table=st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True),
                retention_ms=optional,
                compress_after_ms=optional,
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda sink: sink.table,
        ),
        trigger=st.builds(Trigger, interval_ms=_DURATION_MS, max_records=st.integers(1, 2 * 10**6)),
        limits=st.builds(
            Bounds, parallelism=st.integers(1, 64), max_pending_flushes=st.integers(1, 16)
        ),
    ).filter(lambda spec: not (spec.deduplicate and spec.transform))


@given(_specs())
def test_rendered_stream_reads_back_as_the_same_specification(spec: StreamSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.yaml"
        path.write_text(json.dumps(render_stream(spec)), encoding="utf-8")
        assert check_pipeline(path) == (spec, [])
