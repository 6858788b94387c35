"""Compilation of kernels, and the few machine instructions that numba has no name for.

Inside kernels an array is a bare pointer (numba counts references to arrays with atomic
instructions, which costs ten times the decoding), annotated as the array it points into. Nothing is
checked: a caller proves first that what it loads lies inside. Hosts are little-endian (x86_64,
aarch64).
"""

# ruff: noqa: ANN401 (numba gives its extensions objects without types)

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


class Pointer(Protocol):
    """What a kernel may do with an array; nothing is checked."""

    def __getitem__(self, position: int) -> int:
        """Load a number."""
        ...

    def __setitem__(self, position: int, value: int) -> None:
        """Store a number."""
        ...


Bytes = Pointer
Ints = Pointer
Longs = Pointer
int64 = cast("Callable[[object], int]", np.int64)
"""Conversion that numba compiles, typed as the int that it is to Python."""

Function = TypeVar("Function", bound=Callable[..., Any])

_I64 = ir.IntType(64)
_I128 = ir.IntType(128)


def inlined(function: Function) -> Function:
    """Compile a part of a kernel into whatever calls it."""
    return cast("Function", numba.njit(forceinline=True, nogil=True, error_model="numpy")(function))


def called(function: Function) -> Function:
    """Compile a part of a kernel that is rare enough to be a call of its own."""
    return cast("Function", numba.njit(nogil=True, error_model="numpy")(function))


def entry(function: Function) -> Function:
    """Compile a kernel that Python calls; the machine code is cached beside the source."""
    return cast("Function", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def _content(code: Any) -> tuple[object, ...]:
    constants = [_content(c) if hasattr(c, "co_code") else c for c in code.co_consts]
    return code.co_code, code.co_names, constants


def fingerprint(*modules: ModuleType) -> str:
    """Hash the code and constants of kernels' modules.

    numba looks for stale machine code in the entry's own file only; an entry that closes over this
    text is compiled again when a part in another module changed.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(vars(module).items()):
            code = getattr(
                getattr(value, "py_func", getattr(value, "_defn", None)), "__code__", None
            )
            if code is not None:
                digest.update(repr((name, _content(code))).encode())
            elif isinstance(value, (int, np.integer)):
                digest.update(repr((name, int(value))).encode())
            elif isinstance(value, np.ndarray):
                digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


def _pointer(number_type: Any) -> Callable[[int], Pointer]:
    def pointer(_context: Any, _address: Any) -> Any:
        target = types.CPointer(number_type)  # type: ignore[no-untyped-call]  # numba has no types here

        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(target))

        return target(types.int64), generate

    return cast("Callable[[int], Pointer]", intrinsic(pointer))


byte_pointer = _pointer(types.uint8)
int_pointer = _pointer(types.int32)
long_pointer = _pointer(types.int64)


def _byte_at(_context: Any, pointer: Any, _position: Any) -> Any:
    """Load one byte as int64, unchecked."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.zext(builder.load(builder.gep(args[0], [args[1]], inbounds=True)), _I64)

    return types.int64(pointer, types.int64), generate


def _word_at(_context: Any, pointer: Any, _position: Any) -> Any:
    """Load eight bytes at any alignment as uint64, the first one lowest, unchecked."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        address = builder.gep(args[0], [args[1]], inbounds=True)
        return builder.load(builder.bitcast(address, _I64.as_pointer()), align=1)

    return types.uint64(pointer, types.int64), generate


def _first_mark(_context: Any, _mask: Any) -> Any:
    """Index of the first marked byte of a mask of 0x80 marks; 8 for an empty mask."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        zeros = builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(_I64, 3))

    return types.int64(types.uint64), generate


def _leading_zeros(_context: Any, _word: Any) -> Any:
    """Count the zero bits above the highest one."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _high_product(_context: Any, _left: Any, _right: Any) -> Any:
    """Upper 64 of the 128 bits of a product of two uint64."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        product = builder.mul(builder.zext(args[0], _I128), builder.zext(args[1], _I128))
        return builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), _I64)

    return types.uint64(types.uint64, types.uint64), generate


def _bits_of(_context: Any, _number: Any) -> Any:
    """Bits of a float64 as int64."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _I64)

    return types.int64(types.float64), generate


byte_at = cast("Callable[[Bytes, int], int]", intrinsic(_byte_at))
word_at = cast("Callable[[Bytes, int], np.uint64]", intrinsic(_word_at))
first_mark = cast("Callable[[np.uint64], int]", intrinsic(_first_mark))
leading_zeros = cast("Callable[[np.uint64], int]", intrinsic(_leading_zeros))
high_product = cast("Callable[[np.uint64, np.uint64], np.uint64]", intrinsic(_high_product))
bits_of = cast("Callable[[np.float64], int]", intrinsic(_bits_of))
