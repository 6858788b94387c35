"""What the Web UI filters workflows by."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from common.names import (
    INTERVAL_ATTRIBUTE,
    KIND_ATTRIBUTE,
    PIPELINE_ATTRIBUTE,
    STATE_ATTRIBUTE,
)

_PIPELINE = SearchAttributeKey.for_keyword(PIPELINE_ATTRIBUTE)
_KIND = SearchAttributeKey.for_keyword(KIND_ATTRIBUTE)
_STATE = SearchAttributeKey.for_keyword(STATE_ATTRIBUTE)
_INTERVAL = SearchAttributeKey.for_keyword(INTERVAL_ATTRIBUTE)


class StateAttribute:
    """Keeps the search attributes of one workflow; each change is one event of history."""

    def __init__(self, pipeline: str, kind: str, interval: str | None = None) -> None:
        self._pipeline = pipeline
        self._interval = interval
        self._kind = kind
        self._shown = workflow.info().typed_search_attributes.get(_STATE)

    def show(self, state: str) -> None:
        """Show a state, unless it is shown already."""
        if state == self._shown:
            return
        self._shown = state
        workflow.upsert_search_attributes(
            [
                _PIPELINE.value_set(self._pipeline),
                _KIND.value_set(self._kind),
                _STATE.value_set(state),
                *([] if self._interval is None else [_INTERVAL.value_set(self._interval)]),
            ]
        )
