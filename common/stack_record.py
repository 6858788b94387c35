"""Where the embedded stack runs, as it wrote it down: `<data_dir>/stack.json`."""

import json
from pathlib import Path

from common.errors import SettingsError

STACK_RECORD = "stack.json"


def read_stack_addresses(data_dir: Path) -> dict[str, str]:
    """Read the addresses of the embedded services by name; empty when no stack was ever started.

    Raises:
        SettingsError: The record is no JSON of the form `{"services": {name: {"address": text}}}`.
    """
    path = data_dir / STACK_RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        services = record.get("services", {})
        return {
            name: service["address"] for name, service in services.items() if service.get("address")
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise SettingsError(
            f"stack record {path}: expected the addresses of the services, got {error!r}; "
            "run `sluice down` and `sluice up` to write it anew"
        ) from error
