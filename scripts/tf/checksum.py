"""CRC-32C, the checksum of every block and tensor of a TensorFlow checkpoint.

The one idea: a CRC is linear over GF(2). So a long text is cut into many lanes of equal length,
numpy takes all lanes one word further at a time, and their sums are folded in pairs: a register
that is followed by n zero bytes is a 32 x 32 matrix times that register. What must stay true: the
result is that of RFC 3720, section 12.1, for every length and alignment.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL = 0x82F63B78
_ALL = 0xFFFFFFFF
# A lane shorter than this costs more to fold than it saves; more lanes than that leave the cache.
_SHORTEST_LANE = 64
_MOST_LANES = 1 << 13
_TILE = 128


def crc32c(data: Any) -> int:
    """The checksum of a bytes-like object."""
    view = memoryview(data).cast("B")
    lanes = _MOST_LANES
    while lanes > 1 and len(view) < 4 * _SHORTEST_LANE * lanes:
        lanes //= 2
    head = len(view) % (4 * lanes) if lanes > 1 else len(view)
    register = _ALL
    table = _byte_table()
    for byte in view[:head]:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    if head < len(view):
        words = np.frombuffer(view[head:], "<u4").reshape(lanes, -1)
        ahead = _apply(_zeros(4 * words.size), np.array([register], np.uint32))
        register = int(ahead[0] ^ _fold(_lanes(words), 4 * words.shape[1]))
    return register ^ _ALL


def masked(crc: int) -> int:
    """The form in which checkpoints store a checksum, so that a file may hold its own."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _ALL


def _lanes(words: Words) -> Words:
    """The register of each row, started at zero."""
    low, high = _word_tables()
    registers = np.zeros(len(words), np.uint32)
    for start in range(0, words.shape[1], _TILE):
        for column in np.ascontiguousarray(words[:, start : start + _TILE].T):
            mixed = registers ^ column
            registers = low[mixed & 0xFFFF] ^ high[mixed >> 16]
    return registers


def _fold(registers: Words, length: int) -> np.uint32:
    """The register of all lanes of `length` bytes, one after the other."""
    matrix = _zeros(length)
    while len(registers) > 1:
        registers = _apply(matrix, registers[0::2]) ^ registers[1::2]
        matrix = _apply(matrix, matrix)
    result: np.uint32 = registers[0]
    return result


def _apply(matrix: Words, registers: Words) -> Words:
    """Matrix times each register; column i of a matrix is what becomes of bit i."""
    result = np.zeros_like(registers)
    for bit, column in enumerate(matrix):
        result ^= ((registers >> np.uint32(bit)) & np.uint32(1)) * column
    return result


def _zeros(count: int) -> Words:
    """The matrix of `count` zero bytes."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power = np.array([_step(1 << bit) for bit in range(32)], np.uint32)
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _step(register: int) -> int:
    """The register after one zero byte."""
    for _ in range(8):
        register = (register >> 1) ^ (_POLYNOMIAL if register & 1 else 0)
    return register


@functools.cache
def _byte_table() -> list[int]:
    return [_step(byte) for byte in range(256)]


@functools.cache
def _word_tables() -> tuple[Words, Words]:
    """What four bytes do, by the lower and by the upper half of the word."""
    matrix, halves = _zeros(4), np.arange(1 << 16, dtype=np.uint32)
    return _apply(matrix, halves), _apply(matrix, halves << np.uint32(16))
