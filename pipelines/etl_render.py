"""An ETL pipeline's specification in the words of its file."""

from typing import Any

from common.duration import format_duration
from pipelines.etl import Check, EtlSpec, EtlStep, Target
from pipelines.etl_source import HttpSource
from pipelines.transform import Step
from pipelines.transform_build import render_step

Values = dict[str, Any]

_OF_BATCH = {"select", "drop", "rename", "cast", "aggregate"}


def render_etl(spec: EtlSpec) -> Values:
    """Write a specification as the content of a file; reading that gives the same one."""
    values: Values = {
        "kind": "etl",
        "name": spec.name,
        "description": spec.description,
        "owner": spec.owner,
        "interval": None if spec.interval_ms is None else format_duration(spec.interval_ms),
        "timezone": spec.timezone,
        "source": _source(spec),
        "contract": spec.contract.name if spec.contract else None,
        "on_schema_change": spec.on_schema_change,
        "transform": [_step(step) for step in spec.transform],
        "gate": [render_check(check) for check in spec.gate],
        "quality_threshold": spec.quality_threshold,
        "targets": [_target(target) for target in spec.targets],
        "report": spec.report.name if spec.report else None,
        "limits": spec.limits.model_dump(),
    }
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}


def _source(spec: EtlSpec) -> Values:
    source = spec.source
    options = source.model_dump(exclude={"kind"}, exclude_defaults=True)
    if isinstance(source, HttpSource):
        rate, paging = options.pop("rate_per_s", None), options.pop("paging", None)
        if rate is not None:
            options["rate"] = f"{rate:g}/s" if rate == int(rate) else f"{rate * 60:g}/m"
        if paging is not None:
            options["paging"] = {paging.pop("kind"): paging}
    fields = {"fields": spec.fields} if spec.fields else {}
    return {source.kind: options, **fields}


def _step(step: EtlStep) -> Values:
    values = render_step(Step(**step.model_dump(exclude=_OF_BATCH)))
    if "enrich" in values:
        values["join"] = values.pop("enrich")
    return values | step.model_dump(include=_OF_BATCH, exclude_defaults=True)


def render_check(check: Check) -> Values:
    """Write a check as in a file."""
    values = check.model_dump(exclude_defaults=True, exclude={"reference": {"content"}})
    values = {"check": check.check, "severity": check.severity} | values
    if "against_runs" in values:
        runs = values.pop("against_runs")
        values["against"] = f"{runs} run{'' if runs == 1 else 's'}"
    if "within_sigma" in values:
        values["within"] = f"{values.pop('within_sigma'):g} sigma"
    if "within_ms" in values:
        values["within"] = format_duration(values.pop("within_ms"))
    if "tolerance_rows" in values:
        values["tolerance"] = values.pop("tolerance_rows")
    return values


def _target(target: Target) -> Values:
    options = target.model_dump(exclude={"kind"}, exclude_defaults=True) | {"mode": target.mode}
    if target.kind == "lake":
        options["path"] = options.pop("table")
    return {target.kind: options}
