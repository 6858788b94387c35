"""A stream whose steps call a user's own functions."""

from pipelines import python_function
from pipelines.transform import Step
from streaming.ledger import Ledger
from streaming.status import StreamUntil
from tests.unit.python_project import RULES, Project, project
from tests.workflows.rig import StreamRig, event

__all__ = ["project"]

LATEST = StreamUntil(kind="latest")
FIELDS = {"at": "timestamp_ms", "category": "string", "amount": "float64", "customer": "int64"}


async def test_own_functions_filter_and_derive_and_failing_rows_are_dead_letters(
    rig: StreamRig, project: Project
) -> None:
    steps = [
        Step(where=project.call("is_good", "amount", returns="bool?")),
        Step(derive={"score": project.call("score", "amount", "category")}),
    ]
    spec = rig.spec(
        fields=FIELDS,
        transform=steps,
        max_records=3,
        aggregate={"n": "count(*)", "s": "sum(score)"},
    )
    rig.log.append(
        0,
        event(0, "a", 2),
        event(1, "a", 0.5),
        event(2, "xx", 2),
        event(3, "a", 3),
        event(4, "b", 4),
    )
    result = await rig.ended(await rig.start(spec, until=LATEST))
    assert result.ledger == Ledger(consumed=5, aggregated=3, filtered=1, dead_lettered=1)
    assert rig.view() == {(0, "a"): 2, (0, "b"): 1}
    [(_, _, headers)] = rig.dead.records
    assert dict(headers)["offset"] == b"2"
    assert b"`ownshop.scoring.score`: expected a value" in dict(headers)["error"]


async def test_changed_code_pauses_the_stream_and_the_old_code_lets_it_go_on(
    rig: StreamRig, project: Project
) -> None:
    step = Step(derive={"score": project.call("score", "amount", "category")})
    spec = rig.spec(fields=FIELDS, transform=[step], aggregate={"n": "sum(score)"})
    rig.log.append(0, event(0, "a", 2))
    handle = await rig.start(spec)
    await rig.until(handle, lambda s: s.ledger.consumed == 1)
    project.write("rules", "FACTOR = 30.0\n")
    python_function._loaded.clear()
    rig.log.append(0, event(1_500, "a", 5), event(2_500, "a", 5))
    status = await rig.until(handle, lambda s: s.state == "paused")
    assert "expected the code that the stream was started with" in status.reason
    project.write("rules", RULES)
    await handle.signal("resume")
    await rig.until(handle, lambda s: s.ledger.consumed == 3)
    await handle.signal("drain")
    result = await rig.ended(handle)
    assert result.ledger == Ledger(consumed=3, aggregated=3)
    assert rig.view() == {(0, "a"): 4.0, (1000, "a"): 10.0}
