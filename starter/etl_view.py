"""How runs of ETL pipelines look on a screen: the live line, the ledger, what was published."""

from dataclasses import dataclass
from typing import Any

from activities.etl_history import RunRecord
from activities.etl_io import TargetResult
from batch.chunk import BatchLedger
from pipelines.data_interval import DataInterval
from starter.output import format_amount, format_rate, format_seconds, iso_time, print_json, show
from workflows.etl_input import EtlResult, EtlStatus

_WORDS = {
    "opening": "open",
    "settling": "settle",
    "planning": "plan",
    "extracting": "extract",
    "auditing": "audit",
    "publishing": "publish",
    "reporting": "report",
    "recording": "record",
}


@dataclass(frozen=True)
class SavedPages:
    """Where pages about a run were written; empty where there is none.

    Attributes:
        quality: The gate's report.
        report: The report that the pipeline names.
    """

    quality: str = ""
    report: str = ""


def live_line(status: EtlStatus) -> str:
    """Describe a run in one line."""
    words = [DataInterval.short(status.slot), status.state if status.state != "running" else ""]
    head = "  ".join(word for word in (status.pipeline, *words, _WORDS[status.phase]) if word)
    parts = []
    if status.chunk_count is not None:
        parts.append(f"{head} {status.chunks_done}/{status.chunk_count} chunks")
        rate = _rate(status)
        parts += [f"{format_amount(status.rows)} rows", format_rate(rate).replace("/s", " rows/s")]
        left = status.row_estimate - status.rows
        if status.state == "running" and status.phase == "extracting" and rate > 0 and left > 0:
            parts.append(f"ETA {max(1, round(left / rate)):,} s")
    else:
        parts.append(head)
    if status.reason:
        parts.append(" ".join(status.reason.split()))
    return "  ".join(parts)


def _rate(status: EtlStatus) -> float:
    elapsed_us = status.now_us - status.started_us
    return status.rows / (elapsed_us / 1e6) if elapsed_us > 0 else 0.0


def ledger_line(ledger: BatchLedger, *, blocked: bool = False) -> str:
    """Write the conservation of rows as an equation and whether it holds."""
    into = f"extracted {ledger.extracted:,}"
    if ledger.expanded:
        into += f" + expanded {ledger.expanded:,}"
    out = [f"{'held back' if blocked else 'loaded'} {ledger.loaded:,}"]
    if ledger.grouped:
        out.append(f"grouped {ledger.grouped:,}")
    out += [f"filtered {ledger.filtered:,}", f"quarantined {ledger.quarantined:,}"]
    sign, verdict = ("=", "balanced") if ledger.balanced else ("≠", "NOT BALANCED")
    return f"{into} {sign} {' + '.join(out)}   {verdict}"


def print_status(status: EtlStatus, web_ui: str) -> None:
    """Write the status for people."""
    show(live_line(status.model_copy(update={"reason": ""})))
    if status.reason:
        show(f"  reason   {status.reason}")
    show(f"  run {status.run}  {ledger_line(status.ledger)}")
    for one in status.published:
        show(f"  {one.target}  {_changes(one)}")
    show(f"  web UI   {web_ui}")


def print_result(name: str, result: EtlResult, web_ui: str, pages: SavedPages) -> None:
    """Say how a run ended."""
    seconds = format_seconds(result.elapsed_us / 1e6)
    show(f"{name}  {DataInterval.short(result.slot)}  {result.state} in {seconds}")
    show(f"  {ledger_line(result.ledger, blocked=result.state == 'blocked')}")
    for change in result.changes:
        show(f"  schema   {change}")
    audit = result.audit
    counts = [f"{audit.passed} passed"]
    counts += [f"{audit.warned} warned"] if audit.warned else []
    counts += [f"{audit.failed} failed"] if audit.failed else []
    show(f"  gate     {', '.join(counts)}   {pages.quality}")
    for line in audit.lines:
        show(f"           {line}")
    if pages.report:
        show(f"  report   {pages.report}")
    for one in result.published:
        show(f"  target   {one.target}  {_changes(one)}")
    show(f"  web UI   {web_ui}")


def _changes(done: TargetResult) -> str:
    if done.written:
        return f"written {done.written:,}  (merged by its readers)"
    return f"inserted {done.inserted:,}  updated {done.updated:,}  deleted {done.deleted:,}"


def result_json(name: str, result: EtlResult, web_ui: str) -> dict[str, Any]:
    """Give how a run ended, for programs."""
    ledger = {**result.ledger.model_dump(), "balanced": result.ledger.balanced}
    return {
        "pipeline": name,
        **result.model_dump(mode="json"),
        "ledger": ledger,
        "web_ui": web_ui,
    }


def print_record(record: RunRecord) -> None:
    """Say what a run read and what became of it."""
    took = format_seconds((record.ended_us - record.started_us) / 1e6)
    show(f"{record.pipeline}/{record.run}  {record.slot}  {record.state} in {took}")
    show(f"  {ledger_line(record.ledger, blocked=record.state == 'blocked')}")
    show(f"  source   {record.source}")
    if record.window.start is not None or record.window.end is not None:
        show(f"  cursor   from {record.window.start or 'the first'} to {record.window.end}")
    show(f"  columns  {', '.join(f'{name} {kind}' for name, kind in record.columns.items())}")
    for name, (inserted, updated, deleted) in record.published.items():
        done = TargetResult(
            target=name, inserted=inserted, updated=updated, deleted=deleted,
            written=record.written.get(name, 0),
        )  # fmt: skip
        show(f"  target   {name}  {_changes(done)}")
    if record.release_of is not None:
        show(f"  releases rows of run {record.release_of}")
    show(f"  gate     {record.outcome}, score {record.score:g}")
    show(f"  hash     {record.result_hash}")


def print_status_json(status: EtlStatus, web_ui: str) -> None:
    """Write the status as JSON."""
    ledger = {**status.ledger.model_dump(), "balanced": status.ledger.balanced}
    print_json(
        {
            **status.model_dump(mode="json", exclude={"started_us", "now_us"}),
            "started": iso_time(status.started_us // 1_000),
            "rows_per_second": round(_rate(status)),
            "ledger": ledger,
            "web_ui": web_ui,
        }
    )
