"""An `EtlSpec` out of checked values."""

from pathlib import Path
from typing import Any

from common.duration import parse_duration
from pipelines.etl import Aggregation, BatchLimits, Check, EtlSpec, EtlStep, Reference, Target
from pipelines.etl_source import FileSource, HttpSource, KafkaSource, Paging, PostgresSource, Source
from pipelines.transform_build import build_step

Values = dict[str, Any]

_PER_SECOND = {"s": 1.0, "m": 60.0}
_PLAIN_STEP = ("select", "drop", "rename", "cast")


def build_etl(values: Values) -> EtlSpec:
    """Build the specification; every default filled in, every duration in milliseconds."""
    given = {
        name: values[name]
        for name in (
            "description", "owner", "timezone", "contract", "on_schema_change",
            "quality_threshold", "report",
        )
        if name in values
    }  # fmt: skip
    return EtlSpec(
        name=values["name"],
        interval_ms=values.get("interval"),
        source=_source(values["source"]),
        fields=values["source"].get("fields", {}),
        transform=[build_etl_step(step) for step in values.get("transform", [])],
        gate=[build_check(check) for check in values.get("gate", [])],
        targets=[build_target(*next(iter(one.items()))) for one in values["targets"]],
        limits=BatchLimits(**values.get("limits", {})),
        **given,
    )


def placed(spec: EtlSpec, file: Path) -> EtlSpec:
    """Say where the pipeline's file is, from which paths in it are taken."""
    return spec.model_copy(update={"base_dir": str(file.resolve().parent)})


def _source(values: Values) -> Source:
    if "postgres" in values:
        return PostgresSource(**values["postgres"])
    if "files" in values:
        return FileSource(**values["files"])
    if "kafka" in values:
        return KafkaSource(**values["kafka"])
    http = dict(values["http"])
    rate, paging = http.pop("rate", None), http.pop("paging", None)
    if paging is not None:
        kind, options = next(iter(paging.items()))
        paging = Paging(kind=kind, **options)
    if rate is not None:
        count, _, unit = rate.partition("/")
        rate = int(count) / _PER_SECOND[unit]
    return HttpSource(**http, paging=paging, rate_per_s=rate)


def build_etl_step(values: Values) -> EtlStep:
    """Build a step; own functions get the hash of their code."""
    values = dict(values)
    if "join" in values:
        values["enrich"] = values.pop("join")
    aggregate = values.pop("aggregate", None)
    plain = {name: values.pop(name) for name in _PLAIN_STEP if name in values}
    return EtlStep(
        **build_step(values).model_dump(),
        **plain,
        aggregate=None if aggregate is None else Aggregation(**aggregate),
    )


def build_check(values: Values) -> Check:
    """Build a check; `field` is one of `fields`."""
    values = dict(values)
    if "field" in values:
        values["fields"] = [values.pop("field")]
    if "reference" in values:
        values["reference"] = Reference(**values["reference"])
    if "against" in values:
        values["against_runs"] = int(values.pop("against").split()[0])
    if "tolerance" in values:
        values["tolerance_rows"] = values.pop("tolerance")
    within = values.pop("within", None)
    if within is not None and within.endswith("sigma"):
        values["within_sigma"] = float(within.split()[0])
    elif within is not None:
        values["within_ms"] = parse_duration(within)
    return Check(**values)


def build_target(kind: str, options: Values) -> Target:
    """Build a target; the lake's path is its table."""
    options = dict(options)
    if kind == "lake":
        options["table"] = options.pop("path")
    return Target.model_validate({"kind": kind, **options})
