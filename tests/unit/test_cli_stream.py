"""What the stream commands read and write, without any server."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import get_args

import pyarrow as pa
import pytest

from common.errors import UnknownNameError, UsageError
from pipelines.stream import SinkKindName
from starter.main import run
from starter.stream import SinkKind
from starter.stream_target import parse_from, parse_until
from starter.stream_view import ledger_line, live_line, print_result, print_rows
from starter.worker_process import plan_processes
from streaming.ledger import Ledger
from streaming.status import StreamResult, StreamStatus


def test_until_reads_latest_time_and_offsets() -> None:
    assert parse_until("latest").kind == "latest"
    assert parse_until("2026-05-01T00:00Z").time_ms == 1_777_593_600_000
    assert parse_until("0=1500,1=900").offsets == {0: 1500, 1: 900}


def test_from_reads_earliest_latest_and_time() -> None:
    assert [parse_from(text).kind for text in ("earliest", "latest")] == ["earliest", "latest"]
    assert parse_from("1970-01-01T00:00:01Z").time_ms == 1000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--window", "1m"], "`--window`: expected an operational option, got one that changes"),
        (["--late.allowed=1s"], "--fresh"),
        (["--colour", "red"], "`--colour`: expected --interval, --max-records"),
        ([], "--reset, got none"),
        (["--parallelism", "0"], "`--parallelism`: expected 1 to 64, got 0"),
        (["--interval", "soon"], "expected a duration such as 250ms"),
    ],
)
def test_configure_refuses_what_changes_results_and_what_it_does_not_know(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["stream", "configure", "sales-1m", *arguments]) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "now", "0=", "0=1,0=2", "2026-05-01", "0=1;1=2"])
def test_until_refuses_everything_else(text: str) -> None:
    with pytest.raises(UsageError, match="`--until`: expected"):
        parse_until(text)


def test_result_is_told_in_the_words_of_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(consumed=2_000_000, aggregated=1_990_003, dead_lettered=9_997)
    result = StreamResult(
        state="completed",
        epoch=1,
        ledger=ledger,
        events=2_000_000,
        flush_seq=3,
        flushed_rows=4350,
        elapsed_ms=3300,
    )
    print_result("sales-1m", result, "http://h/workflows/stream%2Fsales-1m")
    assert capsys.readouterr().out.splitlines() == [
        "sales-1m  completed 2,000,000 events in 3.3 s",
        "  consumed 2,000,000 = aggregated 1,990,003 + filtered 0 + duplicate 0 + late 0 + "
        "dead-lettered 9,997   balanced",
        "  web UI   http://h/workflows/stream%2Fsales-1m",
    ]


def test_live_line_is_told_in_the_words_of_the_examples() -> None:
    status = StreamStatus(
        pipeline="sales-1m",
        state="running",
        bounded=True,
        target_lag=760_000,
        events_per_second=612_000,
        watermark_ms=45_667_000,
        open_windows=100,
        flushed_rows=4350,
        ledger=Ledger(consumed=1_240_000),
    )
    assert live_line(status) == (
        "sales-1m  running   1,240,000 events  612k/s  lag 0.8M  watermark 12:41:07  "
        "open windows 100  flushed 4,350  ETA 1 s"
    )


def test_ledger_that_does_not_balance_says_so() -> None:
    assert ledger_line(Ledger(consumed=2, aggregated=1)).endswith("NOT BALANCED")


def test_rows_keep_the_digits_of_decimals(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pa.table(
        {
            "window_start": pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
            "revenue": pa.array([Decimal("0.10")], pa.decimal128(38, 2)),
            "mean": [None],
        }
    )
    print_rows(rows, "csv")
    expected = "window_start,revenue,mean\n2026-01-01T00:00:00Z,0.10,\n"
    assert capsys.readouterr().out == expected
    print_rows(rows, "json")
    assert '"revenue": "0.10"' in capsys.readouterr().out


@pytest.mark.parametrize("command", ["start", "status", "results", "pause", "drain"])
def test_unknown_file_starts_nothing(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stream", command, "./nope.yaml"]) == 2
    assert "`./nope.yaml`: expected a file, got none" in capsys.readouterr().err


def test_compute_queues_get_the_processes_and_the_others_one() -> None:
    plans = plan_processes("stream,stream-compute", 3, 8, 1)
    assert [plan.queue for plan in plans] == ["stream"] + ["stream-compute"] * 3
    assert len({plan.name for plan in plans}) == 4
    assert len(plan_processes("stream-compute", None, 8, 1)) == 8
    assert len(plan_processes("stream", 2, 8, 1)) == 2
    assert len(plan_processes("stream", None, 8, 1)) == 1


def test_unknown_queue_is_refused_with_a_near_miss() -> None:
    with pytest.raises(UnknownNameError, match="did you mean `stream`"):
        plan_processes("strem", None, 1, 1)


def test_results_can_be_read_from_every_kind_of_sink() -> None:
    assert [kind.value for kind in SinkKind] == list(get_args(SinkKindName))
