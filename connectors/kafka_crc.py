"""CRC-32C (Castagnoli) of a slice of a buffer, the checksum of Kafka's record batches.

One instruction per eight bytes where the processor has it (x86-64 with SSE 4.2: 7 GB/s a core),
else slicing by eight with tables (Intel, 2006: 1.4 GB/s).
"""

from typing import Any

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

_POLYNOMIAL = 0x82F63B78


def has_instruction() -> bool:
    """Tell whether this processor computes CRC-32C in one instruction that the kernel may use."""
    is_x86 = llvm.get_process_triple().startswith("x86_64")
    return is_x86 and bool(llvm.get_host_cpu_features().get("sse4.2"))


def _tables() -> npt.NDArray[np.uint64]:
    rows = np.zeros((8, 256), np.uint64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        rows[0, byte] = crc
    for level in range(1, 8):
        previous = rows[level - 1]
        rows[level] = rows[0, previous & np.uint64(0xFF)] ^ (previous >> np.uint64(8))
    return rows


_TABLES = _tables()


@intrinsic
def _crc_word(_context: Any, _crc: Any, _word: Any) -> Any:  # noqa: ANN401 - numba's types
    """Fold eight bytes into the checksum with the processor's instruction."""

    def generate(_target: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - llvmlite's types
        word = ir.IntType(64)
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]  # numba has no types here
            builder.module, ir.FunctionType(word, [word, word]), "llvm.x86.sse42.crc32.64.64"
        )
        return builder.call(function, arguments)

    return types.uint64(types.uint64, types.uint64), generate


@njit(cache=True, nogil=True)
def crc32c_by_table(buffer: npt.NDArray[np.uint8], start: int, end: int) -> int:
    """Compute the checksum of `buffer[start:end]` with tables."""
    crc = uint64(0xFFFFFFFF)
    low = uint64(0xFF)
    words = buffer[start : start + (end - start) // 8 * 8].view(np.uint64)
    for index in range(len(words)):
        word = words[index] ^ crc
        crc = (
            _TABLES[7, word & low]
            ^ _TABLES[6, (word >> uint64(8)) & low]
            ^ _TABLES[5, (word >> uint64(16)) & low]
            ^ _TABLES[4, (word >> uint64(24)) & low]
            ^ _TABLES[3, (word >> uint64(32)) & low]
            ^ _TABLES[2, (word >> uint64(40)) & low]
            ^ _TABLES[1, (word >> uint64(48)) & low]
            ^ _TABLES[0, word >> uint64(56)]
        )
    for index in range(start + len(words) * 8, end):
        crc = _TABLES[0, (crc ^ uint64(buffer[index])) & low] ^ (crc >> uint64(8))
    return int(crc ^ uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def crc32c_by_instruction(buffer: npt.NDArray[np.uint8], start: int, end: int) -> int:
    """Compute the checksum of `buffer[start:end]` with the processor's instruction."""
    crc = uint64(0xFFFFFFFF)
    low = uint64(0xFF)
    words = buffer[start : start + (end - start) // 8 * 8].view(np.uint64)
    for index in range(len(words)):
        crc = _crc_word(crc, words[index])  # type: ignore[call-arg]  # the context is numba's
    for index in range(start + len(words) * 8, end):
        crc = _TABLES[0, (crc ^ uint64(buffer[index])) & low] ^ (crc >> uint64(8))
    return int(crc ^ uint64(0xFFFFFFFF))


crc32c = crc32c_by_instruction if has_instruction() else crc32c_by_table


def warm_up() -> None:
    """Compile the kernel, or load it from the cache; seconds the first time on a machine."""
    buffer = np.zeros(9, np.uint8)
    buffer.flags.writeable = False
    crc32c(buffer, 0, len(buffer))
