"""Service levels of a contract's file, in the standard's words."""

import re
from typing import Any

from common.duration import parse_duration
from common.errors import UsageError
from contracts.contract import ServiceLevel
from contracts.document import Document
from contracts.problem import Path

_PROPERTIES = (
    "availability", "throughput", "errorRate", "generalAvailability", "endOfSupport", "endOfLife",
    "retention", "frequency", "latency", "timeToDetect", "timeToNotify", "timeToRepair",
    "freshness", "timeOfAvailability",
)  # fmt: skip
_SYNONYMS = {
    "av": "availability",
    "th": "throughput",
    "er": "errorRate",
    "ga": "generalAvailability",
    "es": "endOfSupport",
    "el": "endOfLife",
    "re": "retention",
    "fy": "frequency",
    "ly": "latency",
    "td": "timeToDetect",
    "tn": "timeToNotify",
    "tr": "timeToRepair",
}
_LONG = {name.lower(): name for name in _PROPERTIES} | _SYNONYMS
_LENGTHS = frozenset(
    ("retention", "frequency", "latency", "freshness", "timeToDetect", "timeToNotify",
     "timeToRepair")
)  # fmt: skip
_DAY_MS = 86_400_000
_UNITS_MS = {
    unit: factor
    for units, factor in (
        ("ms millisecond milliseconds", 1),
        ("s sec second seconds", 1_000),
        ("m min minute minutes", 60_000),
        ("h hr hour hours", 3_600_000),
        ("d day days", _DAY_MS),
        ("w week weeks", 7 * _DAY_MS),
        ("y yr year years", 365 * _DAY_MS),
    )
    for unit in units.split()
}
_COUNT = re.compile(r"[0-9]{1,9}")


def service_level(document: Document, path: Path, values: dict[str, Any]) -> ServiceLevel | None:
    """Read one of `slaProperties`; None when it has a problem, which is recorded."""
    name = _LONG.get(values["property"].lower(), values["property"])
    value = values["value"]
    if isinstance(value, list | dict):
        document.report((*path, "value"), "expected a single value, got another")
        return None
    unit = values.get("unit", "")
    duration_ms = None
    if name in _LENGTHS and value is not None:
        try:
            duration_ms = _duration(value, unit)
        except UsageError as error:
            document.report((*path, "value"), str(error))
            return None
    return ServiceLevel(
        property=name,
        value=value or "",
        unit=unit,
        duration_ms=duration_ms,
        element=values.get("element", ""),
        driver=values.get("driver", ""),
        description=values.get("description", ""),
    )


def _duration(value: str, unit: str) -> int | None:
    """Read a number with its unit, or a duration such as 4d; years have 365 days."""
    if not unit:
        return parse_duration(value)
    if not _COUNT.fullmatch(value):
        raise UsageError(f"expected a whole number of `{unit}`, got `{value}`")
    factor = _UNITS_MS.get(unit.lower())
    return None if factor is None else int(value) * factor
