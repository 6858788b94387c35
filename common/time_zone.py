"""Time zones out of the installed `tzdata` package, never out of the machine's own files.

What a day is must not depend on the machine that computes it. The package is pinned with the other
libraries, so all workers of one installation know the same zones.
"""

import functools
from importlib import resources
from zoneinfo import ZoneInfo

from common.errors import PipelineSpecError
from common.near_miss import near_miss


@functools.cache
def zone_names() -> frozenset[str]:
    """Give the names of all zones, such as `Europe/Berlin`."""
    with resources.files("tzdata").joinpath("zones").open("rb") as content:
        return frozenset(content.read().decode().split())


@functools.cache
def time_zone(name: str) -> ZoneInfo:
    """Give a zone by its name.

    Raises:
        PipelineSpecError: There is no such zone.
    """
    if name not in zone_names():
        raise PipelineSpecError(
            f"expected a time zone such as Europe/Berlin, got `{name}`"
            f"{near_miss(name, zone_names())}"
        )
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as content:
        return ZoneInfo.from_file(content, key=name)
