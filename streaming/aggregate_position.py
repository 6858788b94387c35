"""First and last values by event time; equal times are told apart by the event's position.

The order is (event time, partition, offset), a total order of a topic's log, so no cut and no order
of merging matters. Rows that one event was expanded into are in their own order.

The partial is a list of one value and its position, empty where the call took no event.
"""

import numpy as np
import polars as pl

from streaming.aggregate import EVENT_MS, OFFSET, PARTITION, Aggregate
from streaming.tally import as_lists, flatten

_EARLIEST = ("first", "arg_min")
_SKIPS_NULLS = ("arg_min", "arg_max")
_ORDER = ("ms", "partition", "offset")
_VALUE, _ROW = "value", "_row"


class Positional(Aggregate):
    """`first(x)`, `last(x)`, and `arg_min(x, t)`, `arg_max(x, t)`, which leave out nulls."""

    def start(self) -> list[pl.Expr]:
        """Collect the events that share the first or last time of a group."""
        value, taken = self.value, self.taken
        if self.call.function in _SKIPS_NULLS:
            taken = value.is_not_null()
        event_ms = pl.col(EVENT_MS)
        if taken is not None:
            event_ms = pl.when(taken).then(event_ms)
        places = (event_ms, pl.col(PARTITION), pl.col(OFFSET))
        named = [place.alias(name) for name, place in zip(_ORDER, places, strict=True)]
        wanted = event_ms.min() if self._is_earliest else event_ms.max()
        return [pl.struct(*named, value.alias(_VALUE)).filter(event_ms == wanted).alias(self.slot)]

    def merge(self) -> list[pl.Expr]:
        """Join the lists."""
        return [pl.col(self.slot).explode(empty_as_null=False)]

    def settle(self, groups: pl.DataFrame) -> list[pl.Series]:
        """Keep the first or last event of each group."""
        lists = groups[self.slot]
        row, entries = flatten(lists)
        ordered = entries.with_columns(pl.Series(_ROW, row)).sort(
            _ROW, *_ORDER, maintain_order=True
        )
        bounds = np.searchsorted(row, np.arange(len(lists) + 1))
        some = bounds[1:] > bounds[:-1]
        place = bounds[:-1][some] if self._is_earliest else bounds[1:][some] - 1
        kept = ordered.select(pl.struct(*_ORDER, _VALUE)).to_series().gather(place)
        return [as_lists(self.slot, np.concatenate(([0], np.cumsum(some))), kept)]

    def finish(self, frame: pl.DataFrame) -> pl.Series:
        """Give the value; null where the call took no event."""
        found = pl.col(self.slot).list.get(0, null_on_oob=True).struct.field(_VALUE)
        return self.output(frame, found)

    @property
    def _is_earliest(self) -> bool:
        return self.call.function in _EARLIEST
