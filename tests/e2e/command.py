"""`sluice` as its users call it: a program in a project's folder."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.settings import Settings

PROGRAM = Path(sys.executable).with_name("sluice")

STREAM = """
kind: stream
name: {name}
source:
  kafka: {{topic: {topic}, format: json}}
  fields:
    event_id: string
    timestamp: timestamp_ms
    category: string
    customer_id: int64
    product_id: int64
    amount: decimal(12,2)
event_time: {{field: timestamp, out_of_orderness: 2s, idle_timeout: 1m, max_ahead: 1h}}
group_by: [category]
window: {{tumbling: {window}}}
aggregate:
  sales: count(*)
  revenue: sum(amount)
  average_amount: avg(amount)
  unique_customers: count(distinct customer_id)
  unique_products: count(distinct product_id)
sinks:
  - clickhouse: {{table: {table}}}
  - postgres: {{table: {table}}}
trigger: {{interval: 50ms, max_records: 5000}}
"""


@dataclass(frozen=True)
class Sluice:
    """Calls the program; `changes` go over the environment."""

    settings: Settings
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every call."""
        return {
            **os.environ,
            "SLUICE_PROJECT_DIR": str(self.settings.project_dir),
            "SLUICE_DATA_DIR": str(self.settings.data_dir),
            "SLUICE_WORKER__PROCESSES": "2",
            **self.changes,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it and come back at once."""
        return subprocess.Popen(
            [PROGRAM, *arguments],
            env=self.environment,
            cwd=self.settings.project_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end, whatever that is."""
        with self.start(*arguments) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def ok(self, *arguments: str) -> str:
        """Run it, expect success, give its output."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - a JSON document
        """Run it with `-o json`; gives what it wrote."""
        return json.loads(self.ok(*arguments, "-o", "json"))

    def refused(self, code: int, *arguments: str) -> str:
        """Run it, expect an exit code and one message without trace; gives the message."""
        done = self(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return done.stderr

    def write_stream(self, name: str, topic: str, window: str = "1m") -> Path:
        """Write a user's own stream into the project's folder."""
        path = self.settings.project_dir / "pipelines" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        table = name.replace("-", "_")
        text = STREAM.format(name=name, topic=topic, table=table, window=window)
        path.write_text(text.lstrip())
        return path


def interrupt_after_first_line(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C when the first progress is there; gives what it wrote to both streams."""
    assert process.stderr is not None
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    return out, first + err
