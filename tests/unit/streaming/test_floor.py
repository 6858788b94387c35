"""Floors: from where on a rewound stream may show windows."""

import pytest

from pipelines.stream import Late, StreamSpec, Window
from streaming.floor import EARLIEST_MS, Floors, open_from
from streaming.state import Retiring, StreamState
from streaming.window import SessionWindowing, Windowing
from tests.unit.streaming.event_log import make_spec
from tests.unit.streaming.state_maker import partition, segment, state_of

TUMBLING = Windowing(1_000, 1_000)
SLIDING = Windowing(size_ms=1_000, slide_ms=400)
SESSIONS = SessionWindowing(500, 500)


def spec_of(allowed_ms: int = 0) -> StreamSpec:
    window = Window(kind="tumbling", size_ms=1_000)
    return make_spec(0, 10, window=window).model_copy(update={"late": Late(allowed_ms=allowed_ms)})


def state_at(watermark_ms: int | None) -> StreamState:
    state = state_of(partition(5, at_ms=watermark_ms))
    state.watermark_ms = watermark_ms
    return state


@pytest.mark.parametrize(
    ("windows", "allowed_ms", "highest_ms"),
    [
        (TUMBLING, 0, 5_000),
        (TUMBLING, 999, 4_000),  # an event of the window from 4,000 on may still be on time
        (TUMBLING, 1_000, 4_000),
        (SLIDING, 0, 4_400),  # [4_000, 5_000) has ended, [4_400, 5_400) has not
        (SLIDING, 1_000, 3_200),
        (SESSIONS, 0, 4_501),  # an event at 4,501 alone ends after the watermark
        (SESSIONS, 300, 4_201),
    ],
)
def test_no_window_before_the_highest_floor_may_still_get_an_event_on_time(
    windows: Windowing, allowed_ms: int, highest_ms: int
) -> None:
    assert Floors(windows).highest(state_at(5_000), spec_of(allowed_ms)) == highest_ms


def test_no_window_before_the_highest_floor_is_still_to_be_shown() -> None:
    state = state_at(5_000)
    state.segments, state.fresh_segments = [segment(2_000, 2_000)], 1
    assert Floors(TUMBLING).highest(state, spec_of()) == 2_000
    # Its first window is [1_200, 2_200).
    assert Floors(SLIDING).highest(state, spec_of()) == 1_200
    assert Floors(SESSIONS).highest(state, spec_of()) == 2_000


def test_a_rewound_stream_has_nothing_to_show_before_its_floor() -> None:
    state = state_at(5_000)
    state.floor_ms = 6_000
    assert Floors(TUMBLING).highest(state, spec_of()) == 6_000
    state.watermark_ms = None
    assert Floors(TUMBLING).highest(state, spec_of()) == 6_000
    state.floor_ms = None
    assert Floors(TUMBLING).highest(state, spec_of()) == EARLIEST_MS // 1_000 * 1_000


def test_the_floor_of_sessions_stays_while_rows_are_taken_back() -> None:
    state = state_at(5_000)
    state.floor_ms, state.retiring = 1_000, Retiring(since_epoch=1, until_ms=9_000)
    assert open_from(state, SESSIONS, 5_000) is None
    assert Floors(SESSIONS).highest(state, spec_of()) == 1_000


def test_the_floor_above_offsets_needs_no_event_up_to_their_maximum() -> None:
    assert Floors(TUMBLING).above(2_999) == 3_000
    assert Floors(TUMBLING).above(3_000) == 4_000
    assert Floors(SLIDING).above(2_999) == 3_200
    # At 3,500 the gap is inclusive, and an event there would belong to that at 3,000.
    assert Floors(SESSIONS).above(3_000) == 3_501
    assert Floors(TUMBLING).above(None) == EARLIEST_MS // 1_000 * 1_000


def test_the_floor_of_days_is_the_last_known_boundary_before_what_is_open() -> None:
    days = Windowing(86_400_000, 86_400_000, zone="Europe/Berlin")
    floors = Floors(days, [EARLIEST_MS, 1_000, 2_000, 3_000, 6_000])
    state = state_at(5_000)
    assert floors.highest(state, spec_of()) == 3_000
    state.segments = [segment(1_000, 1_000).model_copy(update={"due_ms": 2_000})]
    assert floors.highest(state, spec_of()) == 1_000
    assert (floors.above(2_000), floors.above(9_000)) == (3_000, 6_000)
