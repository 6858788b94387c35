"""The ETL workflow on the time-skipping server."""

import io
import json

import polars as pl
import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.etl_history import PipelineHistory
from activities.etl_io import Release
from batch.clean import digest
from batch.gate_report import GateReport
from common.errors import RetryableError, SinkRefusedError, SourceRefusedError
from contracts.contract import Contract, ContractField, FieldRule, QualityRule
from pipelines.etl import Aggregation, Check, EtlStep
from pipelines.etl_source import PostgresSource
from pipelines.report import ReportSpec
from tests.workflows.etl_rig import EtlRig


async def test_a_run_loads_every_row_into_every_target(etl: EtlRig) -> None:
    result = await etl.run(etl.spec())

    assert result.state == "published"
    assert result.ledger.model_dump() == {
        "extracted": 100, "expanded": 0, "loaded": 100, "filtered": 0, "quarantined": 0,
        "grouped": 0,
    }  # fmt: skip
    for target in etl.targets.values():
        assert sorted(target.rows) == list(range(100))
        assert target.publications == 1
    assert etl.staged == 0
    assert sorted(etl.source.reads) == [0, 1, 2, 3]


async def test_steps_filter_and_derive(etl: EtlRig) -> None:
    steps = [EtlStep(where="amount < 100"), EtlStep(derive={"double": "amount * 2"})]

    result = await etl.run(etl.spec(transform=steps))

    assert (result.ledger.loaded, result.ledger.filtered) == (50, 50)
    assert etl.targets["postgres"].rows[7] == {"id": 7, "amount": 14, "double": 28}


async def test_rows_are_grouped_over_all_chunks(etl: EtlRig) -> None:
    steps = [
        EtlStep(derive={"odd": "id % 2 = 1"}),
        EtlStep(aggregate=Aggregation(group_by=["odd"], columns={"id": "count(*)"})),
    ]

    result = await etl.run(etl.spec(transform=steps))

    assert result.ledger.balanced
    assert (result.ledger.loaded, result.ledger.grouped) == (2, 98)
    assert etl.targets["postgres"].rows.keys() == {50}


async def test_rows_that_break_a_check_are_set_aside_and_released_exactly(etl: EtlRig) -> None:
    gate = [Check(check="range", fields=["amount"], min="50", severity="quarantine")]
    spec = etl.spec(gate=gate)

    first = await etl.run(spec)
    contents = []
    for key in await etl.lake.keys("etl/load/runs/000001/quarantine"):
        rows = pl.read_parquet(io.BytesIO(await etl.lake.read(key) or b""))
        contents += rows["content"].to_list()
    released = sorted(digest(text) for text in contents[:7])
    ref = await etl.store.put("releases", json.dumps(released).encode(), "json")
    second = await etl.run(spec, release=Release(run=first.run, contents=ref, row_count=7))

    assert (first.ledger.loaded, first.ledger.quarantined) == (75, 25)
    assert (second.ledger.loaded, second.ledger.quarantined) == (82, 18)
    assert second.slot == first.slot
    assert len(etl.targets["postgres"].rows) == 82

    # A plain run rejected them again, so a target of `replace` lost what a person had let through.
    third = await etl.run(spec)
    forgotten = await etl.run(spec, forget_releases=True)
    last = await etl.run(spec)
    assert [one.ledger.quarantined for one in (third, forgotten, last)] == [18, 25, 25]
    history = PipelineHistory(etl.store, "load")
    records = {run: await history.find(run) for run in (2, 3, 4)}
    assert {run: one.release_of for run, one in records.items() if one} == {2: 1, 3: None, 4: None}


async def test_of_rows_with_one_key_the_last_is_loaded_and_the_others_are_set_aside(
    etl: EtlRig,
) -> None:
    etl.source.rows = [{"id": n, "amount": n % 40} for n in range(100)]
    gate = [
        Check(check="unique", fields=["amount"], severity="quarantine"),
        Check(check="reconciliation"),
        Check(check="sql", expression="count(*) = 40 and sum(amount) = 780"),
    ]

    result = await etl.run(etl.spec(gate=gate))

    assert result.state == "published"
    assert (result.ledger.loaded, result.ledger.quarantined) == (40, 60)
    assert result.ledger.balanced
    assert sorted(etl.targets["postgres"].rows) == list(range(60, 100))


async def test_a_blocked_run_publishes_nothing_and_keeps_its_evidence(etl: EtlRig) -> None:
    gate = [Check(check="sql", expression="sum(amount) < 0")]

    result = await etl.run(etl.spec(gate=gate))

    assert result.state == "blocked"
    assert [target.rows for target in etl.targets.values()] == [{}, {}]
    assert etl.staged == 0
    left = {key.split("/")[4] for key in await etl.lake.keys("etl/load/runs")}
    assert left == {"report"}


async def report_of(etl: EtlRig) -> GateReport:
    [key] = await etl.lake.keys("etl/load/runs/000001/report")
    return GateReport.model_validate_json(await etl.lake.read(key) or b"")


async def test_rows_that_break_a_check_that_blocks_are_counted_and_nothing_is_published(
    etl: EtlRig,
) -> None:
    result = await etl.run(etl.spec(gate=[Check(check="range", fields=["amount"], min="50")]))

    assert (result.state, result.ledger.quarantined, result.ledger.loaded) == ("blocked", 0, 100)
    assert [target.rows for target in etl.targets.values()] == [{}, {}]
    assert etl.staged == 0
    [found] = (await report_of(etl)).checks
    assert (found.name, found.outcome, found.failed_rows) == ("range(amount)", "failed", 25)


def contract(**changes: object) -> Contract:
    fields = [ContractField(name="id", type="int64"), ContractField(name="amount", type="int64?")]
    made = Contract(
        name="t", version="1.2.0", status="active", identifier="t", dataset="t", fields=fields
    )
    return made.model_copy(update=changes)


def quality(metric: str, operator: str, bound: str, **options: object) -> QualityRule:
    comparison = {"operator": operator, "bounds": [bound]}
    given = {"rule": metric, "metric": metric, "comparison": comparison, **options}
    return QualityRule.model_validate(given)


async def test_rows_that_break_a_contract_s_rule_that_blocks_are_counted_and_nothing_is_published(
    etl: EtlRig,
) -> None:
    rule = FieldRule(
        rule="amount.minimum", field="amount", kind="minimum", values=["50"], severity="block"
    )
    fields = contract().fields
    fields[1] = fields[1].model_copy(update={"rules": [rule]})

    result = await etl.run(etl.spec(contract=contract(fields=fields)))

    assert (result.state, result.ledger.quarantined, result.ledger.loaded) == ("blocked", 0, 100)
    assert [target.rows for target in etl.targets.values()] == [{}, {}]
    [found] = (await report_of(etl)).checks
    assert (found.title, found.failed_rows) == ("t 1.2.0: amount.minimum", 25)
    assert result.audit.lines[0].startswith("block t 1.2.0: amount.minimum: ")


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("severity", ["block", "warn"])
async def test_what_a_contract_promises_is_measured_over_all_chunks_as_extracted(
    etl: EtlRig, severity: str, *, grouped: bool
) -> None:
    etl.source.rows = [{"id": n, "amount": None if n < 10 else n % 40} for n in range(100)]
    total = sum(row["amount"] or 0 for row in etl.source.rows)
    rules = [
        quality("null_values", "<", "10", unit="percent", fields=["amount"], severity=severity,
                counted=[FieldRule(rule="n", field="amount", kind="required")]),
        quality("duplicate_values", "=", "50", fields=["amount"]),
        quality("row_count", "=", "100"),
        quality("sql", "=", str(total), query="select sum(amount) from {object}"),
        QualityRule(rule="note", metric="text"),
    ]  # fmt: skip
    steps = [EtlStep(where="id < 50")]
    if grouped:
        one = Aggregation(group_by=["amount"], columns={"id": "count(*)"})
        steps.append(EtlStep(aggregate=one))
    gate = [Check(check="unique", fields=["id"], severity="quarantine")]

    result = await etl.run(etl.spec(contract=contract(quality=rules), transform=steps, gate=gate))

    assert result.state == ("blocked" if severity == "block" else "published")
    assert bool(etl.targets["postgres"].rows) == (severity == "warn")
    report = await report_of(etl)
    assert [(one.title, one.outcome, one.measured) for one in report.checks[:5]] == [
        ("t 1.2.0: null_values", "failed", "10 of 100 rows, 10 percent"),
        ("t 1.2.0: duplicate_values", "passed", "50 of 100 rows"),
        ("t 1.2.0: row_count", "passed", "100 rows"),
        ("t 1.2.0: sql", "passed", str(total)),
        ("t 1.2.0: note", "skipped", ""),
    ]


async def test_a_report_is_about_the_rows_that_were_published(etl: EtlRig) -> None:
    gate = [Check(check="range", fields=["amount"], min="50", severity="quarantine")]
    totals = {"rows": "count(*)", "amount": "sum(amount)"}
    report = ReportSpec(name="mine", title="Mine", totals=totals)

    result = await etl.run(etl.spec(gate=gate, report=report))

    assert result.written.page is not None
    page = (await etl.lake.get(result.written.page)).decode()
    amounts = range(50, 200, 2)
    assert f"<dt>rows</dt><dd>{len(amounts)}</dd>" in page
    assert f"<dt>amount</dt><dd>{sum(amounts):,}</dd>" in page
    record = await PipelineHistory(etl.store, "load").find(result.run)
    assert record is not None
    assert record.page == result.written.page


async def test_a_report_leaves_out_rows_whose_key_repeats(etl: EtlRig) -> None:
    etl.source.rows = [{"id": n, "amount": n % 40} for n in range(100)]
    gate = [Check(check="unique", fields=["amount"], severity="quarantine")]
    report = ReportSpec(name="mine", title="Mine", totals={"ids": "sum(id)"})

    result = await etl.run(etl.spec(gate=gate, report=report))

    assert result.written.page is not None
    page = (await etl.lake.get(result.written.page)).decode()
    assert f"<dd>{sum(range(60, 100)):,}</dd>" in page


async def test_a_blocked_run_writes_no_report(etl: EtlRig) -> None:
    report = ReportSpec(name="mine", title="Mine", totals={"rows": "count(*)"})

    result = await etl.run(
        etl.spec(gate=[Check(check="sql", expression="sum(amount) < 0")], report=report)
    )

    assert result.state == "blocked"
    assert result.written.page is None


async def test_a_report_that_does_not_fit_the_rows_ends_the_run_before_its_first_row(
    etl: EtlRig,
) -> None:
    report = ReportSpec(name="mine", title="Mine", totals={"amount": "sum(amout)"})

    with pytest.raises(WorkflowFailureError) as failed:
        await etl.run(etl.spec(report=report))

    assert "report `mine`" in str(failed.value.cause)
    assert etl.source.reads == []


async def test_what_may_pass_is_tried_again(etl: EtlRig) -> None:
    etl.source.failures = [RetryableError("not now"), RetryableError("nor now")]

    result = await etl.run(etl.spec())

    assert result.ledger.loaded == 100


async def test_what_is_final_fails_at_once_and_leaves_no_trace(etl: EtlRig) -> None:
    etl.source.failures = [SourceRefusedError("the table is gone")]

    # One chunk at a time: the skipping server forgets an activity that ends while it is cancelled.
    one = etl.spec().limits.model_copy(update={"parallelism": 1})
    handle = await etl.start(etl.spec(limits=one))
    with pytest.raises(WorkflowFailureError) as caught:
        await etl.ended(handle)

    # A run that failed was shown as cancelled, without the reason.
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == "the table is gone"
    status = await etl.until(handle, lambda _status: True)
    assert (status.state, status.reason) == ("failed", "the table is gone")
    assert etl.staged == 0
    assert [target.rows for target in etl.targets.values()] == [{}, {}]
    assert await etl.lake.keys("etl/load/runs") == []
    assert await etl.store.keys("etl/load/runs") == []


async def test_the_first_target_refuses_before_anything_is_published(etl: EtlRig) -> None:
    etl.targets["clickhouse"].refusals = [SinkRefusedError("a key is null")]

    with pytest.raises(WorkflowFailureError):
        await etl.run(etl.spec())

    assert [target.rows for target in etl.targets.values()] == [{}, {}]
    assert etl.staged == 0


async def test_after_the_first_publication_a_run_goes_on_until_all_targets_have_it(
    etl: EtlRig,
) -> None:
    etl.targets["postgres"].refusals = [SinkRefusedError("somebody dropped the table")]
    handle = await etl.start(etl.spec())
    paused = await etl.until(handle, lambda status: status.state == "paused")

    assert "somebody dropped the table" in paused.reason
    assert len(etl.targets["clickhouse"].rows) == 100
    await handle.signal("resume")
    result = await etl.ended(handle)

    assert result.state == "published"
    assert [len(target.rows) for target in etl.targets.values()] == [100, 100]
    assert etl.targets["clickhouse"].publications == 1


async def test_a_cancellation_after_the_first_publication_is_not_obeyed(etl: EtlRig) -> None:
    etl.targets["postgres"].gate.clear()
    handle = await etl.start(etl.spec())
    await etl.until(handle, lambda status: len(status.published) == 1)

    await handle.cancel()
    await etl.until(handle, lambda status: "cancelled after" in status.reason)
    etl.targets["postgres"].gate.set()
    result = await etl.ended(handle)

    assert result.state == "published"
    assert [len(target.rows) for target in etl.targets.values()] == [100, 100]


async def test_open_transactions_are_waited_for(etl: EtlRig) -> None:
    etl.source.open_transactions = [["pid 7"], ["pid 7"], []]
    spec = etl.spec(source=PostgresSource(table="t", cursor="id"))

    result = await etl.run(spec)

    assert result.ledger.loaded == 100
    assert etl.source.open_transactions == []


async def test_a_long_run_continues_as_a_new_one(etl: EtlRig) -> None:
    etl.source.rows = [{"id": n, "amount": n} for n in range(600)]
    handle = await etl.start(etl.spec(), history_events=60)

    result = await etl.ended(handle)

    assert result.ledger.loaded == 600
    assert len(etl.source.reads) == 20
    first = await etl.server.client.get_workflow_handle(
        handle.id, run_id=handle.first_execution_run_id
    ).describe()
    assert first.status is not None
    assert first.status.name == "CONTINUED_AS_NEW"


async def test_the_same_again_gives_the_same(etl: EtlRig) -> None:
    first = await etl.run(etl.spec())
    before = dict(etl.targets["postgres"].rows)

    second = await etl.run(etl.spec())

    assert (first.run, second.run) == (1, 2)
    assert etl.targets["postgres"].rows == before
