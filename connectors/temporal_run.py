"""What the server still has of the runs of a workflow."""

from collections.abc import AsyncIterator

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from common.errors import ServiceUnavailableError

_DAY_MS = 86_400_000


class TemporalRuns:
    """Runs and their histories.

    Every method raises `ServiceUnavailableError` when the server does not answer.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def retention_ms(self) -> int:
        """Tell how long the namespace keeps closed runs; a day at least."""
        try:
            answer = await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._client.namespace)
            )
        except RPCError as error:
            raise self._away(error) from error
        kept = answer.config.workflow_execution_retention_ttl
        return max(_DAY_MS, kept.ToMilliseconds())

    async def open_runs(self, workflow_id: str) -> set[str]:
        """Give the ids of the runs that are not closed, with the one that is current by now."""
        running = WorkflowExecutionStatus.RUNNING
        found = {r.run_id for r in await self._runs(workflow_id) if r.status is running}
        try:
            current = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return found
            raise self._away(error) from error
        return found | ({current.run_id} if current.status is running else set())

    async def knows(self, prefix: str) -> bool:
        """Tell whether there is any workflow whose id begins so."""
        query = f"WorkflowId STARTS_WITH '{prefix}'"
        try:
            async for _ in self._client.list_workflows(query, limit=1):
                return True
        except RPCError as error:
            raise self._away(error) from error
        return False

    async def histories(self, workflow_id: str) -> AsyncIterator[bytes]:
        """Yield every event of every run; a run that expires meanwhile is passed over."""
        runs = [run.run_id for run in await self._runs(workflow_id)]
        current: list[str | None] = [None]  # may be too new to be listed
        for run_id in [*runs, *current]:
            handle = self._client.get_workflow_handle(workflow_id, run_id=run_id)
            try:
                async for event in handle.fetch_history_events():
                    yield event.SerializeToString()
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise self._away(error) from error

    async def _runs(self, workflow_id: str) -> list[WorkflowExecution]:
        query = f"WorkflowId = '{workflow_id}'"
        try:
            return [run async for run in self._client.list_workflows(query)]
        except RPCError as error:
            raise self._away(error) from error

    def _away(self, error: RPCError) -> ServiceUnavailableError:
        address = self._client.service_client.config.target_host
        return ServiceUnavailableError("Temporal", address, error.message)
