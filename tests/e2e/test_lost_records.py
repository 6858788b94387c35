"""Records that are gone before they were read: a pause, an alert, and a loss that is accepted."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from common.settings import Settings
from starter.compare import compare
from starter.demo_expected import expected_sales
from tests.e2e.command import Sluice
from tests.e2e.test_rewind import view
from tests.stack_rig import raw_values

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FIRST, MORE = 3_000, 6_000
LATER = ["--seed", "2", "--start", "2026-01-01T01:00Z"]


def paused_with(sluice: Sluice, name: str, topic: str) -> int:
    """Read a first part and pause; gives how many rows were shown."""
    shape = ["--events", str(FIRST), "--rate", "10", "--topic", topic]
    sluice.ok("generate", "sales", *shape)
    sluice.write_stream(name, topic)
    sluice.ok("stream", "start", name)
    while (status := sluice.json("stream", "status", name))["ledger"]["consumed"] < FIRST:
        pass
    sluice.ok("stream", "pause", name, "--wait")
    assert status["complete_through"] is not None
    return int(status["flushed_rows"])


def alert_of(sluice: Sluice, name: str) -> dict[str, object]:
    """Give the newest alert of a stream; it is raised a moment after the pause."""
    while not (found := [a for a in sluice.json("alerts") if a["pipeline"] == name]):
        pass
    return dict(found[0])


def refuse_to_go_on(sluice: Sluice, name: str) -> None:
    """Resume without accepting anything: it pauses again, and says why."""
    sluice.ok("stream", "resume", name)
    while "--accept-loss" not in (status := sluice.json("stream", "status", name))["reason"]:
        pass
    assert status["state"] == "paused"
    assert status["ledger"]["consumed"] == FIRST
    alert = alert_of(sluice, name)
    assert (alert["state"], alert["ended"]) == ("open", None)
    assert "OffsetLostError" in str(alert["reason"])


async def delete_records(settings: Settings, topic: str, offsets: dict[int, int]) -> None:
    """Let the log of each partition begin at an offset, as retention does."""
    client = AIOKafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    await client.start()
    try:
        await client.delete_records(
            {
                TopicPartition(topic, number): RecordsToDelete(before_offset=offset)
                for number, offset in offsets.items()
            }
        )
    finally:
        await client.close()


def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    sluice: Sluice, stack: Settings
) -> None:
    name, topic = "made-new", "made-new-sales"
    paused_with(sluice, name, topic)
    before = asyncio.run(raw_values(stack, topic))
    shape = ["--events", str(MORE), "--rate", "10", "--topic", topic]
    sluice.ok("generate", "sales", "--fresh", *LATER, *shape)
    refuse_to_go_on(sluice, name)
    assert sluice.ok("stream", "resume", name, "--accept-loss", "--wait") == f"{name}  running\n"
    while sluice.json("stream", "status", name)["ledger"]["consumed"] < FIRST + MORE:
        pass
    assert alert_of(sluice, name)["state"] == "ended"
    sluice.ok("stream", "drain", name, "--wait")
    done = sluice.json("stream", "start", name, "--until", "latest", "--wait")
    ledger = done["ledger"]
    assert (done["state"], ledger["balanced"]) == ("completed", True)
    assert (ledger["consumed"], ledger["skipped"], ledger["late"]) == (FIRST + MORE, 0, 0)
    expected = expected_sales([*before, *asyncio.run(raw_values(stack, topic))])
    for kind in ("clickhouse", "postgres"):
        shown = asyncio.run(view(stack, kind, name.replace("-", "_")))
        found = compare(expected, shown, ["window_start", "category"])
        assert found.different_rows == 0, (kind, found.examples)


def test_records_that_retention_took_are_counted_as_skipped(
    sluice: Sluice, stack: Settings
) -> None:
    name, topic = "taken", "taken-sales"
    paused_with(sluice, name, topic)
    before = asyncio.run(raw_values(stack, topic))
    parts = sluice.json("stream", "status", name)["partitions"]
    shape = ["--events", str(MORE), "--rate", "10", "--topic", topic]
    sluice.ok("generate", "sales", *LATER, *shape)
    starts = {p["partition"]: p["offset"] + 200 + p["partition"] for p in parts}
    asyncio.run(delete_records(stack, topic, starts))
    gone = sum(starts[p["partition"]] - p["offset"] for p in parts)
    refuse_to_go_on(sluice, name)
    sluice.ok("stream", "resume", name, "--accept-loss", "--wait")
    left = FIRST + MORE - gone
    while (status := sluice.json("stream", "status", name))["ledger"]["consumed"] < left:
        pass
    assert status["ledger"]["skipped"] == gone
    assert alert_of(sluice, name)["state"] == "ended"
    drained = sluice.ok("stream", "drain", name, "--wait")
    assert f"skipped {gone} offsets   balanced" in drained
    ledger = sluice.json("stream", "start", name, "--until", "latest", "--wait")["ledger"]
    assert (ledger["consumed"], ledger["skipped"], ledger["late"]) == (left, gone, 0)
    expected = expected_sales([*before, *asyncio.run(raw_values(stack, topic))])
    for kind in ("clickhouse", "postgres"):
        shown = asyncio.run(view(stack, kind, name))
        found = compare(expected, shown, ["window_start", "category"])
        assert found.different_rows == 0, (kind, found.examples)


def test_a_stream_that_does_not_run_cannot_accept_a_loss(sluice: Sluice) -> None:
    sluice.write_stream("never-ran", "never-made")
    told = sluice.refused(2, "stream", "resume", "never-ran", "--accept-loss")
    assert "expected one that was started, got none" in told
