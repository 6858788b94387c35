"""De-duplication of one partition against the definition in plain Python."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.field_type import FieldType
from streaming.duplicate import Duplicates, KeyTable, key_table
from streaming.frame import from_bytes, to_bytes
from streaming.seen import Seen, SeenTable, let_go
from streaming.segment import Blob

KEYS = (("name", FieldType("string", nullable=True)), ("number", FieldType("int64")))

Event = tuple[str | None, int, int]
"""Two columns of the key, and the event time."""

EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", r"\N", None, "a|1"]), st.integers(0, 2), st.integers(-9, 40)),
    max_size=60,
)


def by_definition(events: list[Event], within_ms: int) -> list[bool]:
    duplicate: list[bool] = []
    for place, (name, number, _) in enumerate(events):
        before = events[:place]
        reach_ms = max((at_ms for _, _, at_ms in before), default=0) - within_ms
        duplicate.append(any(e[:2] == (name, number) and e[2] >= reach_ms for e in before))
    return duplicate


def frame_of(events: list[Event]) -> pl.DataFrame:
    schema = {"name": pl.String, "number": pl.Int64, "at": pl.Int64}
    return pl.DataFrame(events, schema=schema, orient="row")


@dataclass
class Partition:
    """Ranges of one partition, one after the other; tables are frozen in between."""

    within_ms: int
    sealed_keys: int = 500_000
    most_tables: int = 64
    seen: Seen | None = None

    def read(self, batches: list[list[Event]]) -> list[bool]:
        known = self.seen.tables if self.seen else []
        tables = [key_table(from_bytes(table.blob.inline or b"")) for table in known]
        duplicates = Duplicates(KEYS, self.within_ms, self.seen, tables)
        found: list[bool] = []
        for batch in batches:
            frame = frame_of(batch)
            found += duplicates.judge(frame, frame["at"]).to_list()
        after = duplicates.remembered(self.sealed_keys, self.most_tables)
        added = [] if after.added is None else [frozen(after.added)]
        if after.max_event_ms is not None:
            self.seen = Seen(max_event_ms=after.max_event_ms, tables=[*after.kept, *added])
        return found

    @property
    def sizes(self) -> list[int]:
        return [table.blob.row_count for table in self.seen.tables] if self.seen else []


def frozen(table: KeyTable) -> SeenTable:
    content = to_bytes(table.frame())
    blob = Blob(row_count=len(table.high), size_bytes=len(content), inline=content)
    return SeenTable(blob=blob, newest_ms=table.newest_ms)


def cut(events: list[Event], places: list[int]) -> list[list[Event]]:
    bounds = [0, *sorted(min(place, len(events)) for place in places), len(events)]
    return [events[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=300, deadline=None)
@given(
    events=EVENTS,
    ranges=st.lists(st.integers(0, 60), max_size=12),
    batches=st.lists(st.integers(0, 20), max_size=3),
    within_ms=st.integers(1, 30),
    sealed_keys=st.sampled_from([1, 3, 100]),
    most_tables=st.integers(1, 4),
)
def test_duplicates_are_those_of_the_definition_wherever_ranges_and_batches_are_cut(
    events: list[Event],
    ranges: list[int],
    batches: list[int],
    within_ms: int,
    sealed_keys: int,
    most_tables: int,
) -> None:
    partition = Partition(within_ms, sealed_keys, most_tables)
    found: list[bool] = []
    for span in cut(events, ranges):
        found += partition.read(cut(span, batches))
        assert len(partition.sizes) <= most_tables
    assert found == by_definition(events, within_ms)


@settings(max_examples=100, deadline=None)
@given(
    events=EVENTS,
    before=EVENTS,
    batches=st.lists(st.integers(0, 60), max_size=5),
    sealed_keys=st.sampled_from([2, 100]),
)
def test_what_a_range_leaves_does_not_depend_on_its_batches(
    events: list[Event], before: list[Event], batches: list[int], sealed_keys: int
) -> None:
    one, other = Partition(15, sealed_keys), Partition(15, sealed_keys)
    for partition in (one, other):
        partition.read([before])
    one.read([events])
    other.read(cut(events, batches))
    assert one.seen == other.seen


def test_a_duplicate_keeps_its_key_known_and_one_out_of_reach_counts_again() -> None:
    log: list[Event] = [("a", 0, 0), ("a", 0, 8), ("b", 0, 16), ("a", 0, 16), ("c", 0, 27)]
    partition = Partition(10)
    assert partition.read([log]) == [False, True, False, True, False]
    assert partition.read([[("b", 0, 26)]]) == [False]
    assert partition.read([[("b", 0, 26)]]) == [True]


def test_a_copy_exactly_as_far_behind_as_allowed_is_a_duplicate() -> None:
    first: list[Event] = [("a", 0, 0), ("b", 0, 10)]
    again: list[Event] = [("a", 0, 0)]
    assert Partition(10).read([first + again]) == [False, False, True]
    assert Partition(9).read([first + again]) == [False, False, False]


def test_what_is_out_of_reach_is_forgotten_and_tables_stay_few() -> None:
    partition = Partition(1_000, sealed_keys=400)
    most = 0
    for start in range(0, 8_000, 10):
        assert not any(partition.read([[("e", at, at) for at in range(start, start + 10)]]))
        most = max(most, len(partition.sizes))
    assert most <= 12
    assert sum(partition.sizes) <= 3_000


def test_events_that_are_all_known_add_nothing() -> None:
    partition = Partition(100)
    events: list[Event] = [("a", number, 5) for number in range(3)]
    partition.read([events])
    known = partition.seen
    assert partition.read([events, events]) == [True] * 6
    assert partition.seen == known
    assert partition.read([]) == []
    assert partition.seen == known


def test_keys_that_share_half_of_their_digest_are_told_apart() -> None:
    high = np.array([7, 7, 7, 9], np.uint64)
    low = np.array([1, 2, 5, 1], np.uint64)
    table = KeyTable(high, low, np.array([10, 20, 50, 90], np.int64))
    asked = [(7, 5), (7, 3), (9, 1), (8, 1), (7, 1), (7, 9)]
    found = table.latest(*(np.array(half, np.uint64) for half in zip(*asked, strict=True)))
    never = found[1]
    assert found.tolist() == [50, never, 90, never, 10, never]
    assert never < -(2**61)


def test_a_key_has_the_same_digest_on_every_machine_and_in_every_version() -> None:
    duplicates = Duplicates(KEYS, 1, None, [])
    frame = frame_of([(None, 7, 3)])
    duplicates.judge(frame, frame["at"])
    added = duplicates.remembered().added
    assert added is not None
    # BLAKE2b of the text `\N|7`, 16 bytes: two halves, the little end first.
    assert (int(added.high[0]), int(added.low[0])) == (16644937234663492214, 340320852924005861)
    assert key_table(added.frame()).at_ms.tolist() == [3]


def test_objects_that_are_replaced_are_let_go() -> None:
    def table(key: str) -> SeenTable:
        ref = {"key": key, "sha256": key, "size_bytes": 1}
        blob = {"row_count": 1, "size_bytes": 1, "ref": ref}
        return SeenTable.model_validate({"blob": blob, "newest_ms": 0})

    old, new = Seen(tables=[table("a"), table("b")]), Seen(tables=[table("a"), table("c")])
    assert [ref.key for ref in let_go(old, new)] == ["b"]
    assert [ref.key for ref in let_go(old, None)] == ["a", "b"]
    assert let_go(None, new) == []
