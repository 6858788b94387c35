"""Compilation of kernels, and the few machine instructions that numba has no name for.

Inside kernels an array is a bare pointer (numba counts references to arrays with atomic instructions, which costs ten
times the decoding), annotated as the array it points into. Nothing is checked: a caller proves first that what it loads
lies inside. Hosts are little-endian (x86_64, aarch64).
"""

import hashlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

_I64 = ir.IntType(64)
_I128 = ir.IntType(128)


def inlined(function: Function) -> Function:
    """Compile a part of a kernel into whatever calls it."""
    compiled: Function = numba.njit(forceinline=True, nogil=True, error_model="numpy")(function)
    return compiled


def called(function: Function) -> Function:
    """Compile a part of a kernel that is rare enough to be a call of its own."""
    compiled: Function = numba.njit(nogil=True, error_model="numpy")(function)
    return compiled


def entry(function: Function) -> Function:
    """Compile a kernel that Python calls; the machine code is cached beside the source."""
    compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


def fingerprint(*modules: ModuleType) -> str:
    """Hash the code and constants of kernels' modules.

    numba looks for stale machine code in the entry's own file only; an entry that closes over this text is compiled
    again when a part in another module changed.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(vars(module).items()):
            code = getattr(
                getattr(value, "py_func", getattr(value, "_defn", None)), "__code__", None
            )
            if code is not None:
                digest.update(repr((name, code.co_code, code.co_names)).encode())
                digest.update(
                    repr([c for c in code.co_consts if not hasattr(c, "co_code")]).encode()
                )
            elif isinstance(value, (int, np.integer)):
                digest.update(repr((name, int(value))).encode())
            elif isinstance(value, np.ndarray):
                digest.update(name.encode() + value.tobytes())
    return digest.hexdigest()


def _pointer(number_type: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    @intrinsic  # type: ignore[untyped-decorator]  # numba has no types
    def pointer(_context: Any, _address: Any) -> Any:  # noqa: ANN401 (as above)
        target = types.CPointer(number_type)

        def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
            return builder.inttoptr(args[0], context.get_value_type(target))

        return target(types.int64), generate

    return pointer


byte_pointer = _pointer(types.uint8)
int_pointer = _pointer(types.int32)
long_pointer = _pointer(types.int64)


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def byte_at(_context: Any, pointer: Any, _position: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Load one byte as int64, unchecked."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        return builder.zext(builder.load(builder.gep(args[0], [args[1]], inbounds=True)), _I64)

    return types.int64(pointer, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def word_at(_context: Any, pointer: Any, _position: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Load eight bytes at any alignment as uint64, the first one lowest, unchecked."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        address = builder.gep(args[0], [args[1]], inbounds=True)
        return builder.load(builder.bitcast(address, _I64.as_pointer()), align=1)

    return types.uint64(pointer, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def first_mark(_context: Any, _mask: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Index of the first marked byte of a mask of 0x80 marks; 8 for an empty mask."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        zeros = builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))
        return builder.lshr(zeros, ir.Constant(_I64, 3))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def leading_zeros(_context: Any, _word: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Count the zero bits above the highest one."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def high_product(_context: Any, _left: Any, _right: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Upper 64 of the 128 bits of a product of two uint64."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        product = builder.mul(builder.zext(args[0], _I128), builder.zext(args[1], _I128))
        return builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), _I64)

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]  # numba has no types
def bits_of(_context: Any, _number: Any) -> Any:  # noqa: ANN401 (numba's own untyped objects)
    """Bits of a float64 as int64."""

    def generate(_c: Any, builder: Any, _signature: Any, args: Any) -> Any:  # noqa: ANN401 (as above)
        return builder.bitcast(args[0], _I64)

    return types.int64(types.float64), generate
