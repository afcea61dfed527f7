"""A TensorFlow checkpoint in its current form (V2): names to tensors.

The one idea: the index says for each name which bytes of which ``.data`` file hold it, and all of
that is checked before a byte is read: the type, that shape and size agree, that the bytes exist;
then the bytes against their checksum. What must stay true: nothing is read that the file does not
have, and a tensor comes back whole and verified or as an error that names it.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tf import BadCheckpoint
from tf.checksum import crc32c, masked
from tf.protobuf import content, fields, number, signed
from tf.table import read_table

INDEX = ".index"
# The numbers of TensorFlow's DataType.
DTYPES = {1: torch.float32, 2: torch.float64, 14: torch.bfloat16, 19: torch.float16}
_OTHERS = {3: "int32", 4: "uint8", 7: "string", 9: "int64", 10: "bool", 20: "resource"}
_MOST_SHARDS = 100_000
_MOST_DIMENSIONS = 254


@dataclass
class Entry:
    """Where a tensor is; as it stands in the index, nothing checked."""

    dtype: int = 0
    shape: list[int] = field(default_factory=list)
    unknown_rank: bool = False
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    slices: int = 0


class Bundle:
    """The tensors of a checkpoint by name; `prefix` is its path without ``.index``."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.path = prefix.with_name(prefix.name + INDEX)
        table = read_table(self.path)
        self.shards = _shards(self.path, table.pop(b"", None))
        self.entries = {
            _name(self.path, key): _entry(self.path, key, value)
            for key, value in table.items()
            # Pieces of a partitioned tensor, whose own entry says so.
            if not key.startswith(b"\0")
        }
        self._maps: dict[int, memoryview] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor that `read` can read; BadCheckpoint where it cannot."""
        entry = self.entries[name]
        if entry.slices:
            raise self._bad(name, f"is stored in {entry.slices} pieces, which are not joined here")
        if entry.dtype not in DTYPES:
            kind = _OTHERS.get(entry.dtype, f"type {entry.dtype}")
            wanted = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES.values())
            raise self._bad(name, f"must have one of the types {wanted}, got {kind}")
        if entry.unknown_rank or any(size < 0 for size in entry.shape):
            raise self._bad(name, f"must have a known shape, got {entry.shape or 'none'}")
        if math.prod(max(size, 1) for size in entry.shape) >> 60:
            raise self._bad(name, f"must have a shape that a tensor can have, got {entry.shape}")
        size = math.prod(entry.shape) * DTYPES[entry.dtype].itemsize
        if size != entry.size:
            raise self._bad(
                name, f"of shape {entry.shape} must have {size} bytes, got {entry.size}"
            )
        if not 0 <= entry.shard < self.shards:
            raise self._bad(name, f"must lie in a file below {self.shards}, got {entry.shard}")
        return tuple(entry.shape)

    def read(self, name: str) -> Tensor:
        """A copy of the tensor; BadCheckpoint, which names it, where its bytes are not there."""
        shape, entry = self.shape(name), self.entries[name]
        data = self._data(entry.shard)
        if entry.offset < 0 or entry.offset + entry.size > len(data):
            raise self._bad(
                name,
                f"ends at byte {entry.offset + entry.size} of {self._file(entry.shard).name}, "
                f"which has {len(data)}",
            )
        raw = data[entry.offset : entry.offset + entry.size]
        if masked(crc32c(raw)) != entry.checksum:
            raise self._bad(
                name,
                f"at byte {entry.offset} of {self._file(entry.shard).name} does not have the "
                "checksum that the index names",
            )
        tensor = torch.empty(shape, dtype=DTYPES[entry.dtype])
        tensor.view(-1).view(torch.uint8).numpy()[:] = np.frombuffer(raw, np.uint8)
        return tensor

    def _file(self, shard: int) -> Path:
        name = f"{self.prefix.name}.data-{shard:05d}-of-{self.shards:05d}"
        return self.prefix.with_name(name)

    def _data(self, shard: int) -> memoryview:
        if shard not in self._maps:
            path = self._file(shard)
            if not path.is_file():
                raise BadCheckpoint(f"{path} is missing, and {self.path.name} needs it")
            with path.open("rb") as file:
                # An empty file cannot be mapped.
                size = path.stat().st_size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            self._maps[shard] = memoryview(mapped)
        return self._maps[shard]

    def _bad(self, name: str, what: str) -> BadCheckpoint:
        return BadCheckpoint(f"{name} in {self.path} {what}")


def _shards(path: Path, header: bytes | None) -> int:
    """The number of data files, by the header, which is the entry without a name."""
    if header is None:
        raise BadCheckpoint(f"{path} has no header, which a checkpoint begins with")
    shards = endianness = 0
    try:
        for which, value in fields(header):
            if which == 1:
                shards = number(value)
            elif which == 2:
                endianness = number(value)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path} is damaged: in its header {error}") from None
    if endianness:
        raise BadCheckpoint(f"{path} must be of a little-endian machine, got the other order")
    if not 1 <= shards <= _MOST_SHARDS:
        raise BadCheckpoint(f"{path} must name 1 to {_MOST_SHARDS} data files, got {shards}")
    return shards


def _name(path: Path, key: bytes) -> str:
    name = key.decode(errors="replace")
    # The replacement for what is no UTF-8 is printable itself.
    if not name.isprintable() or name.encode() != key:
        raise BadCheckpoint(f"{path} must have printable names in UTF-8, got {key!r}")
    return name


def _entry(path: Path, key: bytes, message: bytes) -> Entry:
    entry = Entry()
    try:
        for which, value in fields(message):
            if which == 1:
                entry.dtype = number(value)
            elif which == 2:
                _shape(entry, content(value))
            elif which == 3:
                entry.shard = signed(number(value))
            elif which == 4:
                entry.offset = signed(number(value))
            elif which == 5:
                entry.size = signed(number(value))
            elif which == 6:
                entry.checksum = number(value)
            elif which == 7:
                entry.slices += 1
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path} is damaged: in the entry of {key!r} {error}") from None
    return entry


def _shape(entry: Entry, message: bytes) -> None:
    for which, value in fields(message):
        if which == 2:
            if len(entry.shape) == _MOST_DIMENSIONS:
                raise BadCheckpoint(f"a shape has more than {_MOST_DIMENSIONS} dimensions")
            sizes = [signed(number(size)) for tag, size in fields(content(value)) if tag == 1]
            entry.shape.append(sizes[-1] if sizes else 0)
        elif which == 3:
            entry.unknown_rank = bool(number(value))
