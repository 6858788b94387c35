"""Data intervals: `[start, end)` by the clock on the wall of a zone, as pipelines are run for."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from common.errors import UsageError
from common.payloads import Model
from common.time_zone import time_zone

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DataInterval(Model):
    """A half-open span of time.

    Attributes:
        start_us: First instant, in microseconds since the epoch.
        end_us: First instant after it.
        label: The start on the wall of the pipeline's zone, with its offset; it names runs.
    """

    start_us: int
    end_us: int
    label: str

    @property
    def day(self) -> str:
        """Day of the start on the wall, such as `2026-05-01`."""
        return self.label[:10]

    @staticmethod
    def short(label: str) -> str:
        """Shorten the label of a day that begins at midnight to the day."""
        return label[:10] if label[10:16] == "T00:00" else label

    def __str__(self) -> str:
        """Write both ends in UTC."""
        return f"{_text(self.start_us)}/{_text(self.end_us)}"


def parse_interval(text: str, zone_name: str) -> DataInterval:
    """Read `START/END`, each a day or a time; what has no offset is by the wall of the zone.

    >>> str(parse_interval("2026-03-29/2026-03-30", "Europe/Berlin"))
    '2026-03-28T23:00:00Z/2026-03-29T22:00:00Z'

    Raises:
        UsageError: It is no interval, or is empty.
        PipelineSpecError: There is no such zone.
    """
    expected = (
        f"interval `{text}`: expected START/END, each as 2026-05-01 or 2026-05-01T06:00+02:00"
    )
    zone = time_zone(zone_name)
    first, slash, last = text.partition("/")
    if not slash:
        raise UsageError(f"{expected}, got no `/`")
    start, end = (_moment(part, zone, expected) for part in (first, last))
    if start >= end:
        raise UsageError(
            f"{expected}, START before END; got {_text(_us(start))}, {_text(_us(end))}"
        )
    return DataInterval(
        start_us=_us(start),
        end_us=_us(end),
        label=start.astimezone(zone).isoformat(timespec="minutes"),
    )


def _moment(text: str, zone: ZoneInfo, expected: str) -> datetime:
    if not (_DAY.fullmatch(text) or _MOMENT.fullmatch(text)):
        raise UsageError(f"{expected}, got `{text}`")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{expected}, got `{text}`: {error}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _us(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _text(value_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=value_us)).isoformat().replace("+00:00", "Z")


PERIOD_RULE = "expected a part of a day that divides it, 1d or 7d (from Monday on)"
_DAY_MS = 86_400_000


def is_period(length_ms: int) -> bool:
    """Tell whether intervals of a length follow each other by the wall of a zone."""
    return length_ms in (_DAY_MS, 7 * _DAY_MS) or (
        length_ms >= 60_000 and length_ms % 60_000 == 0 and _DAY_MS % length_ms == 0
    )


def check_period(interval: DataInterval, length_ms: int, zone_name: str) -> None:
    """Refuse an interval that is not exactly one period, which would overlap with others.

    Periods of days begin at midnight on the wall; shorter ones follow each other from the
    midnight before on, so that the last one of a day of 23 hours may be cut.

    Raises:
        UsageError: It is another span; the message names the period that holds its start.
    """
    wanted = period_at(interval.start_us, length_ms, zone_name)
    if (wanted.start_us, wanted.end_us) != (interval.start_us, interval.end_us):
        raise UsageError(
            f"interval {interval}: expected one period of this pipeline, such as {wanted}; "
            "run one after the other"
        )


def period_at(moment_us: int, length_ms: int, zone_name: str) -> DataInterval:
    """Give the period that holds an instant."""
    zone = time_zone(zone_name)
    local = (_EPOCH + timedelta(microseconds=moment_us)).astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if length_ms >= _DAY_MS:
        days = length_ms // _DAY_MS
        day = midnight.date() - timedelta(days=midnight.weekday() if days > 1 else 0)
        start = datetime(day.year, day.month, day.day, tzinfo=zone)
        last = day + timedelta(days=days)
        end_us = _us(datetime(last.year, last.month, last.day, tzinfo=zone))
        start_us = _us(start)
    else:
        day = midnight.date() + timedelta(days=1)
        day_end_us = _us(datetime(day.year, day.month, day.day, tzinfo=zone))
        begin_us = _us(midnight)
        start_us = begin_us + (moment_us - begin_us) // (length_ms * 1_000) * length_ms * 1_000
        end_us = min(start_us + length_ms * 1_000, day_end_us)
    start = (_EPOCH + timedelta(microseconds=start_us)).astimezone(zone)
    return DataInterval(start_us=start_us, end_us=end_us, label=start.isoformat(timespec="minutes"))
