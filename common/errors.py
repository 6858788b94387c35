"""Errors of Sluice, one tree; the class alone says whether a retry helps.

SluiceError
├── RetryableError            the cause may pass by itself: retry with the same input
│   ├── ServiceUnavailableError   a service does not answer
│   └── StorageFullError          no space left where data is written
└── FatalError                the same input fails again: needs a person or another input
    ├── UsageError                wrong argument, name or setting; nothing was started
    │   ├── SettingsError             a setting is unknown or has the wrong type
    │   ├── PipelineSpecError         a pipeline file is wrong
    │   ├── ContractSpecError         a contract file is wrong
    │   └── UnknownNameError          no pipeline, contract, stream or service of that name
    ├── ContractViolationError    a record or batch breaks what was declared
    ├── UserFunctionError        a user's own function is missing, changed or breaks its declaration
    ├── TopicMissingError         the topic does not exist
    ├── OffsetLostError           pinned offsets are gone, or the topic is another one now
    ├── SinkRefusedError          a sink's target cannot hold the promise
    ├── SourceRefusedError        a batch's source cannot be read as declared
    ├── GateBlockedError          a batch did not pass its gate
    ├── StaleEpochError           a newer epoch of this stream owns the target
    ├── PayloadTooLargeError      a value is above the hard limit of a payload
    ├── StateNotSavedError        the last run left no state to go on from
    ├── StateVersionError         stored state is of a version that this worker cannot read
    └── RunResetError             the run was reset, and its history is no longer what happened

A message reads: what failed, which, what was expected, what came, what to do next; lowercase, no
full stop.
Constructors of special errors take facts, keep them as attributes and compose the text.
"""

from collections.abc import Iterator


class SluiceError(Exception):
    """Root of every error that Sluice raises on purpose."""


class RetryableError(SluiceError):
    """The cause may pass by itself; the same call may succeed later."""


class ServiceUnavailableError(RetryableError):
    """A service does not answer where it was expected."""

    def __init__(self, service: str, address: str, cause: str) -> None:
        self.service = service
        self.address = address
        self.cause = cause
        super().__init__(
            f"{service} at {address}: expected an answer, got {cause}; "
            "check `sluice ps`, it is tried again by itself"
        )


class StorageFullError(RetryableError):
    """No space is left where data is written."""


class FatalError(SluiceError):
    """The same input fails again; a person or another input is needed."""


class UsageError(FatalError):
    """Wrong argument, name or setting; nothing was started."""


class SettingsError(UsageError):
    """A setting is unknown or has the wrong type."""


class PipelineSpecError(UsageError):
    """A pipeline file is wrong."""


class ContractSpecError(UsageError):
    """A contract file is wrong."""


class UnknownNameError(UsageError):
    """No pipeline, contract, stream or service has that name."""


class ContractViolationError(FatalError):
    """A record or batch breaks what was declared."""


class UserFunctionError(FatalError):
    """A user's own function is missing, has other code, or does not do what it declares."""


class TopicMissingError(FatalError):
    """The topic does not exist."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        super().__init__(
            f"topic `{topic}`: expected to exist, got none; "
            "create it or correct `source.kafka.topic`"
        )


class OffsetLostError(FatalError):
    """Pinned offsets are gone from the log, or the topic was made anew."""


class SinkRefusedError(FatalError):
    """A sink's target cannot hold the promise."""


class SourceRefusedError(FatalError):
    """A batch's source cannot be read as it was declared."""


class GateBlockedError(FatalError):
    """A batch did not pass its gate; nothing was published."""


class StaleEpochError(FatalError):
    """A newer epoch of this stream owns the target."""


class PayloadTooLargeError(FatalError):
    """A value is above the hard limit of a payload."""


class StateNotSavedError(FatalError):
    """The last run ended without saving its state, or another run has taken it."""


class StateVersionError(FatalError):
    """Stored state has a version that this worker cannot read."""


class RunResetError(FatalError):
    """The run of a workflow was reset; what it would write contradicts what was written."""


def _subclasses(root: type[SluiceError]) -> Iterator[type[SluiceError]]:
    yield root
    for child in root.__subclasses__():
        yield from _subclasses(child)


def non_retryable_types() -> list[str]:
    """List the class names of all final errors; Temporal matches names, not ancestry."""
    return sorted({cls.__name__ for cls in _subclasses(FatalError)})
