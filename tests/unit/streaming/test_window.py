import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import PipelineSpecError
from pipelines.stream import Window
from streaming.window import windowing

TIMES = st.integers(-(2**53), 2**53)


@given(at_ms=TIMES, size_ms=st.integers(1, 10**10), offset_ms=st.integers(-(10**10), 10**10))
def test_pane_holds_its_event_and_is_aligned_to_the_offset(
    at_ms: int, size_ms: int, offset_ms: int
) -> None:
    windows = windowing(Window(kind="tumbling", size_ms=size_ms, offset_ms=offset_ms))
    start_ms = windows.pane_start(at_ms)
    assert start_ms <= at_ms < start_ms + size_ms
    assert (start_ms - offset_ms) % size_ms == 0
    assert windows.last_window_end(start_ms) == start_ms + size_ms
    assert windows.first_window_end(start_ms) == start_ms + size_ms
    assert windows.pane_start(start_ms) == start_ms


@given(
    times=st.lists(TIMES, min_size=1, max_size=20),
    size_ms=st.integers(1, 10**10),
    offset_ms=st.integers(-(10**10), 10**10),
)
def test_panes_of_a_column_are_those_of_its_values(
    times: list[int], size_ms: int, offset_ms: int
) -> None:
    windows = windowing(Window(kind="tumbling", size_ms=size_ms, offset_ms=offset_ms))
    frame = pl.DataFrame({"at": times}, schema={"at": pl.Int64})
    panes = frame.select(windows.pane_start(pl.col("at")))["at"].to_list()
    assert panes == [windows.pane_start(at) for at in times]


def test_event_on_the_boundary_opens_the_next_window_also_before_1970() -> None:
    windows = windowing(Window(kind="tumbling", size_ms=1_000))
    starts = [windows.pane_start(at) for at in (-1_001, -1_000, -1, 0, 999, 1_000)]
    assert starts == [-2_000, -1_000, -1_000, 0, 0, 1_000]


def test_window_that_the_engine_does_not_run_is_refused() -> None:
    day_ms = 86_400_000
    window = Window(kind="sliding", size_ms=day_ms, slide_ms=day_ms, timezone="Europe/Berlin")
    with pytest.raises(PipelineSpecError, match="expected a tumbling window or a sliding one"):
        windowing(window)
