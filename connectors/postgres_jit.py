"""The few machine instructions by which kernels read and write numbers in network byte order."""

# ruff: noqa: ANN401 (numba gives its extensions objects without types)

from collections.abc import Callable
from typing import Any, cast

import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from streaming.json_jit import Bytes

_I64 = ir.IntType(64)


def address(values: npt.NDArray[Any]) -> int:
    """Tell where the first value of an array lies; the caller keeps the array."""
    return int(values.__array_interface__["data"][0])


def _loader(bits: int, *, swapped: bool = True) -> Callable[[Bytes, int], int]:
    def load(_context: Any, pointer: Any, _position: Any) -> Any:
        def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.gep(args[0], [args[1]], inbounds=True)
            word = builder.load(builder.bitcast(place, ir.IntType(bits).as_pointer()), align=1)
            word = builder.bswap(word) if swapped else word
            return word if bits == 64 else builder.sext(word, _I64)

        return types.int64(pointer, types.int64), generate

    return cast("Callable[[Bytes, int], int]", intrinsic(load))


def _storer(bits: int, *, swapped: bool = True) -> Callable[[Bytes, int, int], int]:
    def store(_context: Any, pointer: Any, _position: Any, _value: Any) -> Any:
        def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
            place = builder.gep(args[0], [args[1]], inbounds=True)
            word = args[2] if bits == 64 else builder.trunc(args[2], ir.IntType(bits))
            word = builder.bswap(word) if swapped else word
            builder.store(word, builder.bitcast(place, ir.IntType(bits).as_pointer()), align=1)
            return args[2]

        return types.int64(pointer, types.int64, types.int64), generate

    return cast("Callable[[Bytes, int, int], int]", intrinsic(store))


long_at = _loader(64)
int_at = _loader(32)
short_at = _loader(16)
put_long = _storer(64)
put_int = _storer(32)
put_short = _storer(16)
word_at = _loader(64, swapped=False)
put_word = _storer(64, swapped=False)
"""Load and store eight bytes as they lie, as the bits of an int64."""
