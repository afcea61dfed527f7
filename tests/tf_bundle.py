"""Writes checkpoints in TensorFlow's current form, for the tests of the converter.

The one idea: it shares nothing with the reader, neither a number nor a checksum, so that an error
in one of them is not the same error in the other. What must stay true: TensorFlow itself reads what
`write` writes; a test that wants a broken file breaks one of the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FLOAT, DOUBLE, INT64, BFLOAT16, HALF = 1, 2, 9, 14, 19
TYPES = {
    torch.float32: FLOAT,
    torch.float64: DOUBLE,
    torch.int64: INT64,
    torch.bfloat16: BFLOAT16,
    torch.float16: HALF,
}
MAGIC = bytes.fromhex("57fb808b247547db")


def _step(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte % 2 else 0)
    return byte


_STEPS = [_step(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    """One byte after another."""
    crc = 2**32 - 1
    for byte in data:
        crc = _STEPS[crc % 256 ^ byte] ^ crc >> 8
    return 2**32 - 1 - crc


def masked(crc: int) -> int:
    """Turned right by 15 bits, plus a constant."""
    return ((crc % 2**15 << 17 | crc >> 15) + 2726488792) % 2**32


def varint(number: int) -> bytes:
    number %= 2**64
    digits = []
    while number > 127:
        digits.append(number % 128 + 128)
        number //= 128
    return bytes([*digits, number])


def field(which: int, value: int | bytes) -> bytes:
    """A field of a message: a number or bytes."""
    if isinstance(value, int):
        return varint(8 * which) + varint(value)
    return varint(8 * which + 2) + varint(len(value)) + value


def shape(sizes: Iterable[int]) -> bytes:
    return b"".join(field(2, field(1, size)) for size in sizes)


def entry(
    sizes: Iterable[int],
    size: int,
    crc: int,
    *,
    dtype: int = FLOAT,
    shard: int = 0,
    offset: int = 0,
    more: bytes = b"",
) -> bytes:
    """What an index says of one tensor; fields that are 0 are left out, as protobuf does."""
    fields = [field(1, dtype), field(2, shape(sizes))]
    fields += [field(which, n) for which, n in ((3, shard), (4, offset), (5, size)) if n]
    return b"".join([*fields, varint(8 * 6 + 5), struct.pack("<I", masked(crc)), more])


def header(shards: int = 1, *, endianness: int = 0) -> bytes:
    order = field(2, endianness) if endianness else b""
    return field(1, shards) + order + field(3, field(1, 1))


def block(pairs: Iterable[tuple[bytes, bytes]], *, interval: int = 16, kind: int = 0) -> bytes:
    """Entries whose keys share a prefix with the one before, but for every `interval`-th."""
    body, starts, last = bytearray(), [0], b""
    for index, (key, value) in enumerate(pairs):
        shared = 0
        if index % interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif index:
            starts.append(len(body))
        body += varint(shared) + varint(len(key) - shared) + varint(len(value))
        body += key[shared:] + value
        last = key
    content = (
        bytes(body) + struct.pack(f"<{len(starts) + 1}I", *starts, len(starts)) + bytes([kind])
    )
    return content + struct.pack("<I", masked(crc32c(content)))


def table(
    entries: Mapping[bytes, bytes], *, block_size: int = 400, interval: int = 16, kind: int = 0
) -> bytes:
    """An index file: blocks of at least `block_size` bytes but the last, their list, a footer."""
    groups: list[list[tuple[bytes, bytes]]] = [[]]
    filled = 0
    for key in sorted(entries):
        if filled >= block_size:
            groups.append([])
            filled = 0
        groups[-1].append((key, entries[key]))
        filled += len(key) + len(entries[key])
    blocks = [block(group, interval=interval, kind=kind) for group in groups]
    return joined(blocks, [group[-1][0] for group in groups])


def joined(blocks: list[bytes], keys: list[bytes]) -> bytes:
    """Blocks to a file; keys: the last of each block, for the list of them."""
    data, places = b"", []
    for each in [*blocks, block([])]:
        places.append(varint(len(data)) + varint(len(each) - 5))
        data += each
    listing = block(zip(keys, places), interval=1)
    footer = places[-1] + varint(len(data)) + varint(len(listing) - 5)
    return data + listing + footer.ljust(40, b"\0") + MAGIC


def raw(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def write(prefix: Path, tensors: Mapping[str, Tensor], *, shards: int = 1, **layout: Any) -> None:
    """Write `prefix`.index and its data files, over which the tensors are dealt in turn.

    layout: how `table` cuts the index into blocks.
    """
    data = [b""] * shards
    entries = {b"": header(shards)}
    for index, (name, tensor) in enumerate(tensors.items()):
        shard, content = index % shards, raw(tensor)
        entries[name.encode()] = entry(
            tensor.shape,
            len(content),
            crc32c(content),
            dtype=TYPES[tensor.dtype],
            shard=shard,
            offset=len(data[shard]),
        )
        data[shard] += content
    for shard, content in enumerate(data):
        data_file(prefix, shard, shards).write_bytes(content)
    index_file(prefix).write_bytes(table(entries, **layout))


def index_file(prefix: Path) -> Path:
    return prefix.with_name(f"{prefix.name}.index")


def data_file(prefix: Path, shard: int = 0, shards: int = 1) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
