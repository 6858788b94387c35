import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.side_output import BATCH_BYTES, BATCH_INLINE_BYTES, BATCH_ROWS, SideOutput
from tests.unit.streaming.state_maker import batches, blob, sequences


def again(output: SideOutput) -> SideOutput:
    return SideOutput.model_validate_json(output.model_dump_json())


def test_what_is_being_delivered_stays_the_same_though_more_comes_and_the_run_ends() -> None:
    output = batches("one", None)
    first = output.next_batches()
    output.add(blob())
    assert output.next_batches() == again(output).next_batches() == first
    assert [ref.key for ref in output.take_delivered(2)] == ["one"]
    assert sequences(output.next_batches()) == [3]


@pytest.mark.parametrize(
    ("key", "rows", "size_bytes", "expected"),
    [
        ("far", 1, 100, [1, 2, 3]),
        ("far", BATCH_ROWS // 2, 100, [1, 2]),
        ("far", BATCH_ROWS * 2, 100, [1]),
        ("far", 1, BATCH_BYTES // 2, [1, 2]),
        ("far", 1, BATCH_BYTES * 2, [1]),
        (None, 1, BATCH_INLINE_BYTES // 2, [1, 2]),
        ("far", 1, BATCH_INLINE_BYTES // 2, [1, 2, 3]),
    ],
)
def test_one_transaction_takes_a_bounded_part_of_what_waits(
    key: str | None, rows: int, size_bytes: int, expected: list[int]
) -> None:
    output = batches(key, key, key, rows=rows, size_bytes=size_bytes)
    assert sequences(output.next_batches()) == expected


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "try", "deliver", "crash"]), st.integers(1, BATCH_ROWS * 2)
    ),
    max_size=30,
)


@given(STEPS)
def test_every_batch_is_delivered_in_exactly_one_transaction(steps: list[tuple[str, int]]) -> None:
    output = SideOutput()
    written: dict[int, list[int]] = {}
    for step, rows in [*steps, *[("deliver", 0)] * len(steps)]:
        if step == "arrive":
            output.add(blob(rows=rows))
        if step == "crash":
            output = again(output)
        if step in ("try", "deliver") and (found := sequences(output.next_batches())):
            assert written.setdefault(found[-1], found) == found
            if step == "deliver":
                output.take_delivered(found[-1])
    assert output.waiting == []
    everything = [number for last in sorted(written) for number in written[last]]
    assert everything == list(range(1, output.sequence + 1))
