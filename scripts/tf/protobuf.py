"""The wire format of protocol buffers, as far as the entries of a checkpoint use it.

The one idea: a message is a list of (field, value), where a value is an int or bytes; what a field
means is the reader's business. What must stay true: no byte outside the message is ever read, and
a message that ends early, holds an unknown wire type or writes a number in more bytes than
TensorFlow does is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from tf import BadCheckpoint

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def varint(data: bytes, at: int) -> tuple[int, int]:
    """(the unsigned number of at most 64 bits that begins at `at`, where it ends)."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise BadCheckpoint("a number ends in the middle")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise BadCheckpoint("a number is written longer than it needs")
            if number >> 64:
                break
            return number, at
    raise BadCheckpoint("a number is longer than 64 bits")


def signed(number: int) -> int:
    """An int32 or int64 field of a message, whose negative values are stored modulo 2^64."""
    return number - (1 << 64) if number >> 63 else number


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value, in the order of the message."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = varint(message, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise BadCheckpoint(f"a field has wire type {kind}")
        if size > len(message) - at:
            raise BadCheckpoint(f"a field of {size} bytes has {len(message) - at} left")
        content = message[at : at + size]
        at += size
        yield tag >> 3, content if kind == _BYTES else int.from_bytes(content, "little")


def number(value: int | bytes) -> int:
    """A field that must be a number."""
    if isinstance(value, bytes):
        raise BadCheckpoint("a number is stored as bytes")
    return value


def content(value: int | bytes) -> bytes:
    """A field that must be bytes."""
    if isinstance(value, int):
        raise BadCheckpoint("a message is stored as a number")
    return value
