import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import FatalError
from streaming.slice_index import check_slice, index_bytes, pack, read_index


@given(parts=st.lists(st.binary(max_size=20), max_size=8))
def test_every_slice_comes_back_alone(parts: list[bytes]) -> None:
    content = pack([(len(part), part) for part in parts])
    index = read_index(content[: index_bytes(len(parts))], len(parts), "o")
    for part, expected in zip(index, parts, strict=True):
        found = content[part.start : part.start + part.size_bytes]
        check_slice(found, part, "o")
        assert (found, part.row_count) == (expected, len(expected))


@given(place=st.integers(0, index_bytes(2) - 1))
def test_damaged_index_is_refused(place: int) -> None:
    content = bytearray(pack([(1, b"abc"), (2, b"defg")]))
    content[place] ^= 1
    with pytest.raises(FatalError, match=r"object `o`: expected an index of 2 slices"):
        read_index(bytes(content[: index_bytes(2)]), 2, "o")


@pytest.mark.parametrize("found", [b"abd", b"ab", b"abcd", b""])
def test_damaged_slice_is_refused(found: bytes) -> None:
    content = pack([(1, b"abc")])
    (part,) = read_index(content[: index_bytes(1)], 1, "o")
    with pytest.raises(FatalError, match=r"object `o`: expected 3 bytes at"):
        check_slice(found, part, "o")
