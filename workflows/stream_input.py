"""Input of the stream workflow, apart from the workflow so that starters need not import it."""

from common.payloads import Model
from pipelines.stream import StreamSpec
from streaming.status import RewindTo, StreamFrom, StreamUntil

STREAM_WORKFLOW = "stream"
"""Type name of the workflow.

Signals: `pause`, `resume`, `accept_loss`, `drain`, `stop`, without arguments. Updates: `rewind`,
takes `streaming.status.RewindTo` and gives `streaming.status.Rewound`; `configure`, takes
`streaming.tuning.TuningChange` and gives `streaming.tuning.Operation`. Query: `status`, gives
`streaming.status.StreamStatus`. Result: `streaming.status.StreamResult`. Id:
`common.names.stream_workflow_id`.
"""

REWIND_LATER = "RewindLater"
"""Type of the error with which a stream between two runs asks to send the update again."""


class StreamInput(Model):
    """Start a stream: go on from its saved state, or begin a new epoch.

    Attributes:
        spec: What to compute.
        fresh: Begin a new epoch at `begin` even when a saved state exists; without saved state a
            new epoch begins anyway.
        begin: Where a new epoch starts to read.
        rewind: Where the saved state is turned back to before the run goes on.
        until: Where this run ends; None runs until it is told to end.
        history_events: Length of history after which the workflow continues as a new run.
        accept_loss: Go on from a saved state without what the log no longer has.
        carried: State of the previous run of a chain; set by continue-as-new only.
    """

    spec: StreamSpec
    fresh: bool = False
    begin: StreamFrom = StreamFrom()
    rewind: RewindTo | None = None
    until: StreamUntil | None = None
    history_events: int = 8_000
    carried: str | None = None
    accept_loss: bool = False
