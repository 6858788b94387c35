"""What steps need from outside, loaded and bound to their plan."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from common.payloads import ObjectStore
from pipelines.python_function import load_function
from pipelines.transform import PythonCall
from streaming.look_up import CompiledLookUp
from streaming.plan import StreamPlan
from streaming.resource import Resources

KEPT_TABLES = 8
"""Reference tables that a process keeps; each comes from at most 64 MB."""

_tables: OrderedDict[str, pl.DataFrame] = OrderedDict()


async def bound(plan: StreamPlan, store: ObjectStore) -> StreamPlan:
    """Load what the steps of a plan need; every plan that rows go through must be bound.

    Raises:
        UserFunctionError: A function is missing, or its code is not that of the start.
        FatalError: The content of a reference file is not in the store.
    """
    calls, look_ups = plan.steps.calls, plan.steps.look_ups
    if not calls and not look_ups:
        return plan
    return replace(plan, steps=plan.steps.bind(await resources_for(calls, look_ups, store)))


async def resources_for(
    calls: Iterable[PythonCall], look_ups: Iterable[CompiledLookUp], store: ObjectStore
) -> Resources:
    """Load functions and tables; raises as `bound`."""
    return Resources(
        # In this thread: a function is imported once for each process.
        functions={call.python: load_function(call) for call in calls},
        tables={one.name: await _table(one, store) for one in look_ups},
    )


async def _table(look_up: CompiledLookUp, store: ObjectStore) -> pl.DataFrame:
    if look_up.name not in _tables:
        # What reads the pipeline's file gives every look-up its content.
        assert look_up.enrich.content is not None  # noqa: S101 - for the type checker
        _tables[look_up.name] = look_up.read(await store.get(look_up.enrich.content))
    _tables.move_to_end(look_up.name)
    while len(_tables) > KEPT_TABLES:
        _tables.popitem(last=False)
    return _tables[look_up.name]
