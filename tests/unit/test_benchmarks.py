"""The parts of the benchmarks that need no stack."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import etl_peer
from benchmarks.etl_limit import shares
from benchmarks.etl_peer import PEERS, find_peers
from benchmarks.history import ActivitySpan, busy_seconds, stage_seconds, sums
from benchmarks.latency import PARTITIONS, Appends, latencies_ms, latency_spec
from benchmarks.line import Line, percentile
from benchmarks.machine import watched
from benchmarks.options import SCENARIOS, parse
from streaming.plan import compile_stream


def test_a_line_is_one_json_object_that_leaves_out_what_does_not_apply() -> None:
    plain = json.loads(Line("sales-1m", 700_000.4, "events/s", 5).encode())
    assert plain == {
        "scenario": "sales-1m", "value": 700_000, "unit": "events/s", "memory_bytes": 5,
    }  # fmt: skip
    compared = json.loads(Line("c", 2, "s", 5, 1.234, "it", [1.0, 3.0], {"cores": 2}).encode())
    assert (compared["ratio"], compared["against"], compared["cores"]) == (1.23, "it", 2)


@pytest.mark.parametrize(("percent", "expected"), [(1, 1), (50, 10), (95, 19), (100, 20)])
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(list(range(20, 0, -1)), percent) == expected


def test_activities_are_added_up_by_name_with_their_waits() -> None:
    spans = [ActivitySpan("a", 0, 1, 3), ActivitySpan("a", 2, 2, 4), ActivitySpan("b", 0, 0, 1)]
    total = sums(spans)["a"]
    assert (total.count, total.waited_s, total.worked_s) == (2, 1, 4)
    assert busy_seconds(spans, "a") == 3


def test_stages_that_explain_more_than_the_span_leave_no_rest() -> None:
    span = ActivitySpan("a", 0, 0, 1, {"decode": 2_000_000})
    assert stage_seconds([span], "a")["rest"] == 0


def test_a_window_closes_when_the_last_partition_passed_its_end() -> None:
    appends = Appends()
    for partition in range(PARTITIONS):
        appends.note(partition, 5_000 + partition, 10.0 + partition)
        appends.note(partition, 5_900, 99.0)
    appends.note(0, 6_000, 11.0)
    assert appends.closed_at(5_000) == 10.0 + PARTITIONS - 1
    assert appends.closed_at(6_000) is None
    assert latencies_ms(appends, {5_000: 13.5, 6_000: 14.0}, skip=0) == [500.0]


def test_the_stream_of_the_latency_scenario_compiles() -> None:
    assert compile_stream(latency_spec("topic", "table")).windowing.size_ms == 1_000


def test_a_loader_that_is_installed_is_found_and_one_that_cannot_be_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_peers(None) == []
    there, missing = PEERS[0], PEERS[1]
    (tmp_path / there.name).mkdir()
    (tmp_path / there.name / "installed").write_text("\n".join(there.requirements))
    (tmp_path / missing.name).write_text("no folder")
    monkeypatch.setattr(etl_peer, "PEERS", (there, missing))
    found = find_peers(tmp_path)
    assert [peer.python for peer in found] == [tmp_path / there.name / "bin" / "python"]
    assert f"{missing.name} is left out" in capsys.readouterr().err


@pytest.mark.parametrize(("rows", "streams"), [(1, 1), (7, 3), (5_000_000, 8)])
def test_the_streams_of_a_bare_copy_share_all_rows(rows: int, streams: int) -> None:
    found = [n for first, last in shares(rows, streams) for n in (first, last)]
    assert (found[0], found[-1]) == (1, rows)
    assert all(last + 1 == first for last, first in zip(found[1:-1:2], found[2::2], strict=True))


def test_all_scenarios_run_by_default_and_an_unknown_one_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert parse([]).scenarios == tuple(SCENARIOS)
    assert parse(["latency", "--cores", "1"]).scenarios == ("latency",)
    with pytest.raises(SystemExit) as ended:
        parse(["nothing"])
    assert ended.value.code == 2
    assert "expected one of sales-1m" in capsys.readouterr().err


async def test_a_process_that_is_watched_does_not_count_for_the_one_that_started_it() -> None:
    """A stack that the benchmark had started was counted twice."""
    burn = "import sys\nfor _ in range(6_000_000): pass\nprint(1, flush=True)\nsys.stdin.read()"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", burn, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    before_s = time.process_time()
    async with watched({"own": os.getpid(), "child": child.pid}) as usage:
        await child.stdout.readline()
    own_s = time.process_time() - before_s
    await child.communicate(b"")
    assert usage.cpu_s["child"] > 0
    assert usage.cpu_s["own"] < own_s + usage.cpu_s["child"] / 2
