"""What steps need from outside the engine: an activity gets it, and binds it to the plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from polars.exceptions import ComputeError

RECORD = "_row"
"""Column that says which record a row comes from."""

Function = Callable[..., Any]
"""A user's own function: Series in, one Series out."""


@dataclass(frozen=True)
class Resources:
    """What was loaded for the steps of one stream.

    Attributes:
        functions: Own functions by their import path.
        tables: Reference tables by the name of their look-up.
    """

    functions: Mapping[str, Function] = field(default_factory=dict)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)


class RowsRefusedError(ComputeError):
    """A step says itself which records it cannot compute, so that they need not be searched.

    Attributes:
        records: Why, by the record's place.
    """

    def __init__(self, records: Mapping[int, str]) -> None:
        self.records = records
        super().__init__(next(iter(records.values())))
