"""Options changed under a running stream, and workers added: seen in what is read, and later."""

import pytest

from tests.e2e.command import Sluice

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME, TOPIC = "steered", "steered-sales"
EVENTS, MORE, CUT = 4_000, 2_000, 100


def consumed(sluice: Sluice) -> int:
    return int(sluice.json("stream", "status", NAME)["ledger"]["consumed"])


def operation(sluice: Sluice) -> dict[str, object]:
    return dict(sluice.json("stream", "status", NAME)["operation"])


def test_a_running_stream_takes_other_options_and_keeps_them(sluice: Sluice) -> None:
    shape = ["--rate", "10", "--topic", TOPIC]
    sluice.ok("generate", "sales", "--events", str(EVENTS), *shape)
    sluice.write_stream(NAME, TOPIC)
    sluice.ok("stream", "start", NAME)
    while consumed(sluice) < EVENTS:
        pass

    held = sluice.json("stream", "configure", NAME, "--interval", "1h")
    assert (held["interval_ms"], held["configured"]) == (3_600_000, ["interval_ms"])
    sluice.ok("stream", "pause", NAME, "--wait")
    later = ["--seed", "2", "--start", "2026-01-01T00:20Z"]
    sluice.ok("generate", "sales", "--events", str(MORE), *later, *shape)
    sluice.ok("stream", "resume", NAME, "--wait")
    assert consumed(sluice) == EVENTS, "an hour has not passed, and fewer wait than cut a range"

    text = sluice.ok("stream", "configure", NAME, "--max-records", str(CUT))
    assert text.startswith(f"{NAME}  interval 1h, max records {CUT}, ")
    assert text.endswith("(configured: interval, max records)\n")
    while (rest := [p["lag"] for p in sluice.json("stream", "status", NAME)["partitions"]]) and (
        max(rest) >= CUT
    ):
        pass
    assert consumed(sluice) == EVENTS + MORE - sum(rest)

    scaled = sluice.json("stream", "scale", NAME, "3")
    assert scaled["parallelism"] == 3
    sluice.ok("stream", "stop", NAME, "--wait")
    sluice.ok("stream", "start", NAME)
    assert operation(sluice) == scaled
    own = sluice.json("stream", "configure", NAME, "--reset")
    assert (own["interval_ms"], own["max_records"], own["configured"]) == (50, 5_000, [])
    while consumed(sluice) < EVENTS + MORE:
        pass

    told = sluice.refused(2, "stream", "configure", NAME)
    assert "expected one of --interval, --max-records" in told
    told = sluice.refused(2, "stream", "scale", NAME, "65")
    assert "`--parallelism`: expected 1 to 64, got 65; nothing was changed" in told
    told = sluice.refused(2, "stream", "configure", NAME, "--window", "5m")
    assert "one that changes results" in told
    assert "`sluice stream start NAME --fresh`" in told
    assert operation(sluice) == own

    sluice.ok("stream", "drain", NAME, "--wait")
    ended = sluice.refused(2, "stream", "scale", NAME, "2")
    assert f"got one that has ended; start it with `sluice stream start {NAME}`" in ended
    done = sluice.json("stream", "start", NAME, "--until", "latest", "--wait")
    assert (done["ledger"]["balanced"], done["ledger"]["late"]) == (True, 0)
    rows = sluice.json("stream", "results", NAME, "--limit", "0", "--sink", "postgres")
    assert sum(row["sales"] for row in rows) == EVENTS + MORE


def workers(sluice: Sluice) -> list[str]:
    names = [one["name"] for one in sluice.json("ps") if one["state"] == "running"]
    return sorted(n for n in names if n.startswith("worker-") and n != "worker-stream")


def test_workers_come_and_go_and_a_number_out_of_bounds_is_refused(sluice: Sluice) -> None:
    assert "expected 1 to 256, got 0; nothing was changed" in sluice.refused(2, "scale", "0")
    told = sluice("scale", "3")
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr.endswith("3 compute workers run\n")
    assert workers(sluice) == ["worker-1", "worker-2", "worker-3"]
    assert sluice("scale", "2").returncode == 0
    assert workers(sluice) == ["worker-1", "worker-2"]
