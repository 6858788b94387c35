"""What is given up is counted, what was read is kept, and nothing is counted twice."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.loss import LogSurvey, Results, accept_loss
from streaming.seen import Seen, SeenTable
from streaming.segment import Blob
from streaming.state import StreamState
from tests.unit.streaming.state_maker import (
    partition,
    plan_all,
    ref,
    result,
    spec_with,
    state_of,
)

SPEC = spec_with()


def survey(start: int, end: int, topic_id: str = "t", partitions: int = 1) -> LogSurvey:
    numbers = range(partitions)
    return LogSurvey(
        topic_id=topic_id, start=dict.fromkeys(numbers, start), end=dict.fromkeys(numbers, end)
    )


def planned(state: StreamState) -> list[str]:
    return [str(task.span) for task in state.planned]


def test_offsets_that_are_gone_are_skipped_and_what_is_there_stays_planned() -> None:
    state = state_of(partition(end=100))
    plan_all(state, lambda _: [(0, 10), (10, 20), (20, 30), (30, 40)])
    state.planned[2].watermark_ms = 7
    results: Results = {(0, 10): result(0, 10, 20, 5)}
    assert accept_loss(state, SPEC, results, survey(25, 120), 0) == 15
    one = state.partitions[0]
    assert (one.cursor, one.planned, one.end) == (25, 40, 120)
    assert planned(state) == ["events-0[25,30)", "events-0[30,40)"]
    assert state.planned[0].watermark_ms == 7, "the rest of a range keeps what it was pinned with"
    assert (state.ledger.consumed, state.ledger.skipped) == (10, 15)
    assert state.ledger.balanced
    assert one.max_event_ms == 5
    assert results == {}


def test_partition_with_records_behind_a_loss_holds_the_watermark_back() -> None:
    quiet, ahead = partition(cursor=10, at_ms=5), partition(cursor=50, at_ms=5_000)
    quiet.idle = True
    state = state_of(quiet, ahead)
    ends = LogSurvey(topic_id="t", start={0: 20, 1: 0}, end={0: 30, 1: 50})
    assert accept_loss(state, SPEC, {}, ends, 0) == 10
    assert not state.partitions[0].idle
    assert state.watermark_ms == 5


def test_nothing_is_skipped_when_nothing_is_gone() -> None:
    state = state_of(partition(end=100))
    plan_all(state, lambda _: [(0, 10)])
    before = state.encode()
    assert accept_loss(state, SPEC, {}, survey(0, 100), 0) == 0
    assert state.encode() == before


def test_a_log_that_was_cut_back_is_read_from_its_end() -> None:
    state = state_of(partition(cursor=50, end=80))
    plan_all(state, lambda _: [(50, 60)])
    results: Results = {(0, 60): result(0, 60, 70, 1)}
    accept_loss(state, SPEC, results, survey(0, 40), 0)
    one = state.partitions[0]
    assert (one.cursor, one.planned, one.end, planned(state)) == (40, 40, 40, [])
    assert results == {}, "it would be merged once new records have come so far"


def test_a_bounded_run_gives_up_no_more_than_it_had_to_read() -> None:
    state = state_of(partition(end=30, until=30))
    assert accept_loss(state, SPEC, {}, survey(100, 120), 0) == 30
    assert state.partitions[0].finished


def test_another_topic_is_read_from_its_beginning_and_the_watermark_stays() -> None:
    state = state_of(partition(end=50, at_ms=900), partition(end=20))
    state.watermark_ms = 800
    plan_all(state, lambda _: [(0, 5), (5, 10)])
    results: Results = {(0, 5): result(0, 5, 10, 950)}
    lost = accept_loss(state, SPEC, results, survey(3, 9, "other"), 0)
    assert lost == 5 + 40 + 20 + 3
    assert (state.topic_id, state.watermark_ms, state.planned) == ("other", 800, [])
    assert {n: (p.cursor, p.planned, p.end) for n, p in state.partitions.items()} == {0: (3, 3, 9)}
    assert state.partitions[0].max_event_ms is None
    assert state.ledger.consumed == 5
    assert results == {}


def test_a_bounded_run_ends_where_the_other_topic_ends_now() -> None:
    state = state_of(partition(end=50, until=40))
    assert accept_loss(state, SPEC, {}, survey(0, 9, "other"), 0) == 40
    assert state.partitions[0].until == 9


@given(
    cuts=st.lists(st.integers(1, 9), max_size=8),
    finished=st.sets(st.integers(0, 7)),
    floor=st.integers(0, 120),
    again=st.integers(0, 40),
)
def test_every_offset_is_consumed_skipped_or_still_to_read(
    cuts: list[int], finished: set[int], floor: int, again: int
) -> None:
    state = state_of(partition(end=100))
    spans = [(sum(cuts[:i]), sum(cuts[: i + 1])) for i in range(len(cuts))]
    plan_all(state, lambda _: spans)
    results: Results = {
        (0, start): result(0, start, stop, 1)
        for i, (start, stop) in enumerate(spans)
        if i in finished
    }
    kept = {span for i, span in enumerate(spans) if i in finished}
    for start in (floor, floor + again):
        accept_loss(state, SPEC, results, survey(start, 130), 0)
        one = state.partitions[0]
        assert one.cursor == state.ledger.consumed + state.ledger.skipped
        waiting = sorted(
            (t.span.start, t.span.stop, (0, t.span.start) in results) for t in state.planned
        )
        positions = [one.cursor, *(stop for _, stop, _ in waiting)]
        assert [start for start, _, _ in waiting] == positions[:-1]
        assert one.planned == positions[-1]
        assert one.planned >= start
        assert all(begin >= start or done for begin, _, done in waiting)
    skipped = set(range(floor + again)) - {
        offset for begin, stop in kept for offset in range(begin, stop)
    }
    assert state.ledger.skipped == len(skipped)


def test_another_topic_begins_with_nothing_seen() -> None:
    known = SeenTable(blob=Blob(row_count=1, size_bytes=1, ref=ref("seen")), newest_ms=5)
    state = state_of(partition(end=50))
    state.partitions[0].seen = Seen(max_event_ms=5, tables=[known])
    accept_loss(state, SPEC, {}, survey(0, 9, "other"), 0)
    assert [one.seen for one in state.partitions.values()] == [None]
    assert [one.key for one in state.garbage] == [ref("seen").key]
