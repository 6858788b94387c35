"""Which windows a merge shows, early, by the clock or because they ended: each by itself.

The model remembers of each event in which of its windows it was not shown yet; partials say it by
few columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.stream import BY_CLOCK, Window
from streaming.combine import combine
from streaming.early import Early
from streaming.partial import aggregate_events
from streaming.plan import compile_stream
from streaming.window import END_OF_TIME_MS
from tests.unit.streaming.event_log import Event, to_frame
from tests.unit.streaming.test_early import early_spec

Shown = dict[tuple[int, str], tuple[int, bool]]
Op = tuple[str, int, int]
"""What is done, and two numbers for it."""

FEATURES = st.sampled_from([(1_000, None), (None, 1_000), (1_000, 1_000)])
WINDOWS = st.sampled_from([(4, 2), (3, 1), (5, 2), (3, 3)])
OPS = st.lists(
    st.tuples(
        st.sampled_from(["event", "event", "event", "fire", "merge", "updates", "clock"]),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=25,
)


@dataclass
class Model:
    """Events of a stream whose windows are `size` ms long, one every `slide` ms.

    Attributes:
        exact: Whether no window may be shown without news; where both features are used, panes of
            overlapping windows are shown again for each other's sake.
        events: Time, key, watermark that it was judged by.
        unended, unclosed, unseen: Windows in which an event was not shown since it came: without
            the mark of the clock, with it, at all.
    """

    size: int
    slide: int
    exact: bool
    events: list[tuple[int, str, int]] = field(default_factory=list)
    unended: set[tuple[int, int]] = field(default_factory=set)
    unclosed: set[tuple[int, int]] = field(default_factory=set)
    unseen: set[tuple[int, int]] = field(default_factory=set)

    def starts(self, at: int) -> Iterator[int]:
        first = (at - self.size) // self.slide * self.slide + self.slide
        yield from range(first, at + 1, self.slide)

    def add(self, at: int, key: str, watermark: int) -> None:
        number = len(self.events)
        self.events.append((at, key, watermark))
        for start in self.starts(at):
            self.unclosed.add((number, start))
            if start + self.size > watermark:
                self.unended.add((number, start))
                self.unseen.add((number, start))

    def show(self, fire: int, early: Early | None) -> Shown:
        """Give what has to be shown, with counts and marks."""
        found: Shown = {}
        for number, (at, key, _) in enumerate(self.events):
            for start in self.starts(at):
                end = start + self.size
                if end <= fire:
                    wanted = (number, start) in self.unended
                elif early is None or end > early.upto_ms:
                    wanted = False
                elif early.by_clock:
                    after = fire if early.after_ms is None else early.after_ms
                    wanted = end > after and (number, start) in self.unclosed
                else:
                    wanted = (number, start) in self.unseen
                if wanted:
                    by_clock = end > fire and early is not None and early.by_clock
                    found[start, key] = (self.count(start, key), by_clock)
        return found

    def count(self, start: int, key: str) -> int:
        return sum(k == key and start <= at < start + self.size for at, k, _ in self.events)

    def take(self, shown: Shown) -> None:
        for number, (at, key, _) in enumerate(self.events):
            for start in self.starts(at):
                if (start, key) in shown:
                    self.unseen.discard((number, start))
                    if shown[start, key][1]:
                        self.unclosed.discard((number, start))
                    else:
                        self.unended.discard((number, start))


def window_of(size: int, slide: int) -> Window:
    if size == slide:
        return Window(kind="tumbling", size_ms=size)
    return Window(kind="sliding", size_ms=size, slide_ms=slide)


def steps_of(op: Op, fire: int, *, slides: bool) -> list[Early | None]:
    """Give the merges of an operation; a pass may take several."""
    kind, first, more = op
    if kind not in {"updates", "clock"}:
        return [None]
    by_clock = kind == "clock"
    cuts = [fire + first + 1] if more % 2 and slides else []
    uptos, afters = [*cuts, END_OF_TIME_MS], [None, *cuts]
    pairs = zip(uptos, afters, strict=True)
    return [Early(upto_ms=upto, after_ms=after, by_clock=by_clock) for upto, after in pairs]


# The clock had closed a pane, and early rows of another one made it forget that its windows had
# still to be shown by their end, without the mark.
@example(
    features=(1_000, 1_000),
    window=(4, 2),
    ops=[("event", 5, 0), ("clock", 0, 0), ("event", 9, 1), ("updates", 0, 0), ("fire", 12, 6)],
)
@settings(max_examples=150, deadline=None)
@given(features=FEATURES, window=WINDOWS, ops=OPS)
def test_every_window_with_news_is_shown_and_no_other(
    features: tuple[int | None, int | None], window: tuple[int, int], ops: list[Op]
) -> None:
    size, slide = window
    updates_ms, close_ms = features
    spec = early_spec(updates_ms=updates_ms, close_ms=close_ms, window=window_of(size, slide))
    plan = compile_stream(spec.model_copy(update={"aggregate": {"n": "count(*)"}}))
    model = Model(size, slide, exact=None in features or size == slide)
    kept: pl.DataFrame | None = None
    fresh: list[pl.DataFrame] = []
    fire = -100
    for op in [*ops, ("fire", 100, 0)]:
        kind, number, more = op
        if kind == "event":
            event, watermark = Event(number, "ab"[more % 2], 1, 1), fire + more // 2
            last = max(model.starts(number)) + size
            if last <= watermark:
                continue  # late, and no business of a merge
            partial = aggregate_events(plan, to_frame([event]), watermark, 0)
            assert partial.ledger.aggregated == 1
            fresh.append(partial.frame)
            model.add(number, "ab"[more % 2], watermark)
            continue
        if (kind == "updates" and updates_ms is None) or (kind == "clock" and close_ms is None):
            continue
        fire += number if kind == "fire" else 0
        for early in steps_of(op, fire, slides=slide < size):
            if kept is None and not fresh:
                continue
            result = combine(plan, [*([] if kept is None else [kept]), *fresh], fire, None, None,
                             None, early)  # fmt: skip
            kept, fresh = result.kept, []
            found = {
                (round(row["window_start"].timestamp() * 1000), row["category"]): (
                    row["n"], row.get(BY_CLOCK, False)
                )
                for row in result.emitted.iter_rows(named=True)
            }  # fmt: skip
            wanted = model.show(fire, early)
            assert wanted.items() <= found.items()
            if model.exact:
                assert found == wanted
            assert all(n == model.count(*name) for name, (n, _) in found.items())
            model.take(found)
