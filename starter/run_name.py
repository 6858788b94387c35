"""Runs of ETL pipelines by name: `orders-daily/12`, or `orders-daily` for the newest one."""

from activities.etl_history import PipelineHistory, RunRecord
from common.errors import UnknownNameError, UsageError
from common.payloads import ObjectStore


def parse_run(text: str) -> tuple[str, int | None]:
    """Read the name of a run.

    >>> parse_run("orders-daily/12"), parse_run("orders-daily")
    (('orders-daily', 12), ('orders-daily', None))

    Raises:
        UsageError: It is none.
    """
    pipeline, slash, number = text.partition("/")
    if not pipeline or (slash and not number.isdigit()):
        raise UsageError(
            f"run `{text}`: expected PIPELINE/NUMBER, such as orders-daily/12, or a PIPELINE for "
            "its newest run"
        )
    return pipeline, int(number) if slash else None


async def find_run(store: ObjectStore, text: str) -> RunRecord:
    """Find how a run ended.

    Raises:
        UsageError: It is no name of a run.
        UnknownNameError: There is no such run.
    """
    pipeline, number = parse_run(text)
    history = PipelineHistory(store, pipeline)
    if number is not None:
        found = await history.find(number)
    else:
        found = next(iter(await history.newest(1)), None)
    if found is None:
        known = ", ".join(f"{pipeline}/{one.run}" for one in await history.newest(5)) or "none"
        raise UnknownNameError(
            f"run `{text}`: expected one that has ended, got none; the newest are {known}"
        )
    return found
