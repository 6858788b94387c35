"""Runs of ETL pipelines by name: `orders-daily/12`, or `orders-daily` for the newest one."""

from activities.etl_history import PipelineHistory, RunRecord
from common.errors import UnknownNameError, UsageError
from common.settings import Settings
from connectors.object_store import ObstoreStore
from pipelines.load import find_pipeline, is_pipeline_path, load_etl
from pipelines.python_function import use_project
from workers.wiring import object_store_url


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


async def find_history(settings: Settings, pipeline: str) -> PipelineHistory:
    """Find the runs of a pipeline that has a file, or that has had runs.

    Raises:
        UnknownNameError: There is no such pipeline.
        PipelineSpecError: It has had no run, and its file is wrong or of another kind.
    """
    store = ObstoreStore(object_store_url(settings), settings.object_store)
    if not is_pipeline_path(pipeline):
        history = PipelineHistory(store, pipeline)
        if await history.has_begun():
            return history
    use_project(settings.project_dir)
    spec = load_etl(find_pipeline(pipeline, settings.project_dir))
    return PipelineHistory(store, spec.name)


async def find_run(settings: Settings, text: str) -> RunRecord:
    """Find how a run ended.

    Raises:
        UsageError: It is no name of a run.
        UnknownNameError: There is no such run, or no such pipeline.
    """
    pipeline, number = parse_run(text)
    history = await find_history(settings, pipeline)
    if number is not None:
        found = await history.find(number)
    else:
        found = next(iter(await history.newest(1)), None)
    if found is None:
        newest = ", ".join(f"{pipeline}/{one.run}" for one in await history.newest(5))
        do = f"the newest are {newest}" if newest else f"start one with `sluice etl run {pipeline}`"
        raise UnknownNameError(f"run `{text}`: expected one that has ended, got none; {do}")
    return found
