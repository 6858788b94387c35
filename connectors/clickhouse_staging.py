"""Names of the tables in which a batch's rows wait in ClickHouse, one for each attempt."""

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping

from activities.etl_ports import BatchTable

_RUN = re.compile(r"_r(\d{20})_")


def _short(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def slot_prefix(table: BatchTable) -> str:
    """Begin the names of staging of every run of this pipeline, target and slot."""
    return f"sluice_stage_{_short(table.pipeline, table.name, table.slot)}_r"


def run_prefix(table: BatchTable) -> str:
    """Begin the names of staging of this run."""
    return f"{slot_prefix(table)}{table.run:020d}_{_short(table.run_id)}_"


def anchor_name(table: BatchTable) -> str:
    """Name the table that is there as long as the run may stage; it holds nothing."""
    return f"{run_prefix(table)}open"


def attempt_name(table: BatchTable, chunk: int, token: str) -> str:
    """Name the table of one attempt at a chunk."""
    return f"{run_prefix(table)}c{chunk:06d}_{_short(token)}"


def attempt_names(table: BatchTable, tokens: Mapping[int, str]) -> dict[int, str]:
    """Name the tables of the attempts that count, by chunk."""
    return {chunk: attempt_name(table, chunk, token) for chunk, token in sorted(tokens.items())}


def publication_name(table: BatchTable) -> str:
    """Name a table for one attempt at publishing; no two attempts share one."""
    return f"{run_prefix(table)}p{uuid.uuid4().hex}"


def older(names: Iterable[str], run: int) -> list[str]:
    """Keep the names of staging of runs before one."""
    found = ((name, _RUN.search(name)) for name in names)
    return [name for name, match in found if match and int(match.group(1)) < run]
