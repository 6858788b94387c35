"""A rewind as the command line asks for it and shows what came of it."""

import asyncio
import hashlib
import time

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from common.errors import FatalError, OffsetLostError, UsageError
from starter.output import OutputFormat, iso_time, print_json, show
from starter.stream_client import StreamClient, StreamRun
from streaming.status import RewindTo, Rewound
from workflows.stream_input import REWIND_LATER

LATER_S = 30.0
PAUSE_S = 0.2

_KINDS: dict[str, type[FatalError]] = {
    "UsageError": UsageError,
    "OffsetLostError": OffsetLostError,
}


async def send_rewind(client: StreamClient, run: StreamRun, to: RewindTo) -> Rewound:
    """Send the update and wait for its answer, also over a stream's change of runs.

    Asking again for the same in the same epoch is asking once.

    Raises:
        UsageError: The stream does not run, or cannot go back to there.
        FatalError: It did not work; the stream goes on as it was.
    """
    if not run.is_open:
        raise _not_running(run.name)
    status = await client.status(run)
    wanted = hashlib.sha256(to.model_dump_json().encode()).hexdigest()[:16]
    deadline = time.monotonic() + LATER_S
    while True:
        try:
            rewound: Rewound = await run.handle.execute_update(
                "rewind", to, id=f"rewind-{status.epoch}-{wanted}", result_type=Rewound
            )
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            kind = cause.type if isinstance(cause, ApplicationError) else None
            if kind != REWIND_LATER or time.monotonic() > deadline:
                text = cause.message if isinstance(cause, ApplicationError) else str(cause)
                raise _KINDS.get(kind or "", FatalError)(text) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise FatalError(
                f"rewind of stream `{run.name}`: expected an answer, got none in time; see its "
                f"epoch with `sluice stream status {run.name}`, and ask again if it is still "
                f"{status.epoch}"
            ) from error
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise _not_running(run.name) from error
            raise FatalError(f"Temporal: expected to be obeyed, got {error}") from error
        else:
            return rewound
        await asyncio.sleep(PAUSE_S)


def print_rewound(name: str, rewound: Rewound, output: OutputFormat) -> None:
    """Say from where a stream computes again."""
    floor = None if rewound.floor_ms is None else iso_time(rewound.floor_ms)
    if output is OutputFormat.JSON:
        print_json({"pipeline": name, **dict(rewound), "floor": floor})
        return
    begins = rewound.offsets if floor else rewound.rows_from
    offsets = ", ".join(f"{n} from {at:,}" for n, at in sorted(begins.items()))
    what = f"windows from {floor} on are computed again" if floor else "events are written again"
    show(f"{name}  epoch {rewound.epoch}: {what}")
    show(f"  partitions  {offsets}")


def _not_running(name: str) -> UsageError:
    return UsageError(
        f"stream `{name}`: expected a running one to rewind, got one that has ended; go on from "
        f"there with `sluice stream start {name} --rewind-to TIME|OFFSETS`"
    )
