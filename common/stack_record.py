"""Where the embedded stack runs, as it wrote it down: `<data_dir>/stack.json`."""

import json
from pathlib import Path

from common.errors import SettingsError

STACK_RECORD = "stack.json"
STACK_ID_VARIABLE = "SLUICE_STACK_ID"
"""Marks the processes of a stack in their environment; no setting."""


def read_stack_addresses(data_dir: Path) -> dict[str, str]:
    """Read what the embedded services fill in, by name of the setting (`temporal.address`).

    Empty when no stack was ever started there. The addresses stay valid while the stack is down.

    Raises:
        SettingsError: The record is no JSON object with texts under `addresses`.
    """
    path = data_dir / STACK_RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        addresses = record.get("addresses", {})
        return {name: str(address) for name, address in addresses.items() if address}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"stack record `{path}`: expected the JSON that `sluice up` wrote, got {error}; "
            "restore the file or use another data directory"
        ) from error
