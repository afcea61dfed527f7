"""The index of a checkpoint: a sorted table from names to entries, in the form of LevelDB's.

The file is blocks and a footer. A block is entries, whose keys share a prefix with the one before,
then the places where that sharing starts anew, their count, a byte that names the compression, and
a checksum. The footer says where the last two blocks lie: one without a use here, and the list of
the others. What must stay true: every length is held against what is left before it is used, every
block against its checksum, and no byte lies between them, so that a damaged or hostile file is one
error that says at which byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tf import BadCheckpoint
from tf.checksum import crc32c, masked
from tf.protobuf import varint

_FOOTER, _TRAILER = 48, 5
_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_COMPRESSION = {1: "Snappy"}
# Far above any index of a model, and small enough that keys which share all but a byte with the one
# before, and so cost a file nothing, do not exhaust the memory.
_LARGEST_FILE = 1 << 26
_LONGEST_KEY = 1 << 10
_MOST_ENTRIES = 1 << 14


def read_table(path: Path) -> dict[bytes, bytes]:
    """All entries, in the order of their keys; BadCheckpoint says where the file is damaged."""
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise BadCheckpoint(f"{path} must have at most {_LARGEST_FILE} bytes, got {size}")
    data = path.read_bytes()
    if len(data) < _FOOTER or data[-8:] != _MAGIC:
        raise BadCheckpoint(
            f"{path} is no index of a TensorFlow checkpoint, or its end is missing: its last 8 "
            "bytes are not those of a table"
        )
    entries: dict[bytes, bytes] = {}
    try:
        for key, value in _entries(data):
            if len(entries) == _MOST_ENTRIES:
                raise BadCheckpoint(f"it has more than {_MOST_ENTRIES} entries")
            entries[key] = value
        return entries
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path} is damaged: {error}") from None


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    blocks, footer = data[:-_FOOTER], data[-_FOOTER:]
    unused, at = _handle(footer, 0)
    listing, at = _handle(footer, at)
    if any(footer[at : -len(_MAGIC)]):
        raise BadCheckpoint(f"the footer at byte {len(blocks)} holds more than two places")
    last: bytes | None = None
    end = 0
    for _, where in _block(blocks, *listing):
        (offset, size), _ = _handle(where, 0)
        end = _end(offset, size, end)
        for key, value in _block(blocks, offset, size):
            if last is not None and key <= last:
                raise BadCheckpoint(f"in the block at byte {offset} {key!r} comes after {last!r}")
            last = key
            yield key, value
    for _ in _block(blocks, *unused):
        pass
    for place in (unused, listing):
        end = _end(*place, end)
    if end != len(blocks):
        raise BadCheckpoint(f"the blocks end at byte {end} and the footer begins at {len(blocks)}")


def _end(offset: int, size: int, before: int) -> int:
    """Where a block ends that must begin where the one before it ended."""
    if offset != before:
        raise BadCheckpoint(f"a block begins at byte {offset} and the one before ends at {before}")
    return offset + size + _TRAILER


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """((where a block begins, its length), where this ends)."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block."""
    if offset + size + _TRAILER > len(data):
        raise BadCheckpoint(
            f"a block of {size} bytes at byte {offset} ends behind the blocks, {len(data)} bytes"
        )
    kind = data[offset + size]
    stored = data[offset + size + 1 : offset + size + _TRAILER]
    if masked(crc32c(data[offset : offset + size + 1])) != int.from_bytes(stored, "little"):
        raise BadCheckpoint(f"the block at byte {offset} does not have the checksum that it names")
    if kind:
        name = _COMPRESSION.get(kind, f"method {kind}")
        raise BadCheckpoint(
            f"the block at byte {offset} is compressed ({name}), which TensorFlow does not do by "
            "itself and this reader cannot undo"
        )
    try:
        yield from _pairs(data[offset : offset + size])
    except BadCheckpoint as error:
        raise BadCheckpoint(f"in the block at byte {offset} {error}") from None


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise BadCheckpoint(f"{restarts} restarts do not fit into {len(block)} bytes")
    block, at, key = block[:end], 0, b""
    while at < end:
        shared, at = varint(block, at)
        unshared, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or unshared + length > end - at:
            raise BadCheckpoint(f"an entry reaches behind its end, byte {end} of the block")
        if shared + unshared > _LONGEST_KEY:
            raise BadCheckpoint(f"a key is longer than {_LONGEST_KEY} bytes")
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length
