"""Histories as they are kept: JSON without what names the machine."""

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio.api.history.v1 import History
from temporalio.client import Client

HISTORIES = Path(__file__).parent / "histories"
SCRUBBED = {"identity": "worker", "stackTrace": ""}
PROCESS = re.compile(rf"^\d+@{re.escape(socket.gethostname())}.*$")


async def keep_history(client: Client, workflow_id: str, name: str, run_id: str) -> str | None:
    """Keep the history of one run; gives the run that it continued as."""
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    history = await handle.fetch_history()
    content = MessageToDict(History(events=history.events))
    text = json.dumps({"workflow_id": handle.id, **scrubbed(content)}, separators=(",", ":"))
    await asyncio.to_thread((HISTORIES / f"{name}.json").write_text, text + "\n")
    print(f"{name}: {len(history.events)} events, {len(text):,} bytes")  # noqa: T201 - its output
    last = history.events[-1].workflow_execution_continued_as_new_event_attributes
    return last.new_execution_run_id or None


def scrubbed(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Take out what names the machine."""
    if isinstance(value, dict):
        return {k: SCRUBBED[k] if k in SCRUBBED else scrubbed(v) for k, v in value.items()}
    if isinstance(value, list):
        return [scrubbed(v) for v in value]
    return PROCESS.sub("worker", value) if isinstance(value, str) else value
