"""One file of tensors: safetensors to read and write, and torch's pickles to read.

The idea: everything that a file says about itself is checked against its length before a tensor is
made of it, so a file that lies costs nothing but the reading of its header. What must stay true:
every refusal is one ValueError that names the file and the tensor or the byte, the result is
independent of what happens to the file later once it is copied, and no code from a file is run.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import torch
from torch import Tensor

# Names of the safetensors format.
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LARGEST_HEADER = 100_000_000
_MOST_DIMENSIONS = 16


class _Entry(NamedTuple):
    """Where a tensor lies; begin and end count from the first byte after the header."""

    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, views of it that are read from disk when they are used.

    ValueError where the header is malformed, or where the tensors do not fill the file exactly.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise ValueError(f"{path} must begin with 8 bytes of header length, got {size} bytes")
        if length > min(size - 8, _LARGEST_HEADER):
            raise ValueError(
                f"{path} must hold its header of {length} bytes from byte 8 on, got {size} bytes"
            )
        header = file.read(length)
    entries = _entries(path, _json_object(path, header), size - 8 - length)
    if size == 8 + length:
        return {name: torch.empty(x.shape, dtype=x.dtype) for name, x in entries.items()}
    raw = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return {name: _view(raw, 8 + length, entry) for name, entry in entries.items()}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a new file and wait until it is on the disk; tensors may lie on any device.

    ValueError names a tensor whose dtype the format does not have; then nothing is written.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _NAMES or tensor.is_meta:
            kind = "meta" if tensor.is_meta else tensor.dtype
            raise ValueError(f"{name} must have values of a plain dtype, got {kind}")
    # Wide ones first, so that each begins at a multiple of its width.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            _write(file, tensors[name])
        file.flush()
        os.fsync(file.fileno())


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a `torch.save` file that holds a state dict; only `weights_only` loading.

    ValueError where torch refuses the file, or where it holds anything but a dict of tensors.
    """
    zipped = zipfile.is_zipfile(path)
    if zipped:
        _check_archive(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(
            f"{path} must be a state dict that torch.load(weights_only=True) reads, got: {reason}"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} must hold a dict of tensors, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise ValueError(f"{path} must hold tensors by name, got {kind} under {name!r}")
        if value.is_meta or value.is_quantized or value.layout != torch.strided:
            raise ValueError(f"{path} must hold {name} as a plain tensor of values")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{path} must store all {value.numel()} values of {name}, got fewer")
    return {name: value.detach() for name, value in state.items()}


def _json_object(path: Path, header: bytes) -> dict[str, Any]:
    def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in pairs:
            if name in result:
                raise ValueError(f"{name!r} stands in it twice")
            result[name] = value
        return result

    try:
        values = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must have a header of JSON at byte 8, got: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(
            f"{path} must have a JSON object as its header, got {type(values).__name__}"
        )
    values.pop("__metadata__", None)
    return values


def _entries(path: Path, header: dict[str, Any], size: int) -> dict[str, _Entry]:
    """What the header says; together the tensors are the `size` bytes after it, without a gap."""
    entries = {name: _entry(path, name, value) for name, value in header.items()}
    end = 0
    for name in sorted(entries, key=lambda name: (entries[name].begin, entries[name].end)):
        entry = entries[name]
        if entry.begin != end:
            raise ValueError(
                f"{path} must hold {name} from byte {end} of its data on, where the tensor before "
                f"it ends, got {entry.begin}"
            )
        end = entry.end
        if end > size:
            raise ValueError(
                f"{path} must hold {name} up to byte {end} of its data, got {size} bytes"
            )
    if end != size:
        raise ValueError(f"{path} must end with its last tensor, {end} bytes of data, got {size}")
    return entries


def _entry(path: Path, name: str, value: Any) -> _Entry:
    fields = value if isinstance(value, dict) else {}
    kind, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(kind, str) or kind not in DTYPES:
        raise ValueError(
            f"{path} must give {name} a dtype of {', '.join(DTYPES)}, got {_short(kind)}"
        )
    if not _sizes(shape) or len(shape) > _MOST_DIMENSIONS or max(shape, default=0) >= 2**63:
        raise ValueError(f"{path} must give {name} a shape of sizes, got {_short(shape)}")
    if not _sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{path} must give {name} two data_offsets, got {_short(offsets)}")
    begin, end = offsets
    wanted = math.prod(shape) * DTYPES[kind].itemsize
    if end - begin != wanted:
        raise ValueError(
            f"{path} must give {name}, {kind} of shape {shape}, {wanted} bytes, got {end - begin}"
        )
    return _Entry(DTYPES[kind], shape, begin, end)


def _sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _view(raw: Tensor, start: int, entry: _Entry) -> Tensor:
    data = raw[start + entry.begin : start + entry.end]
    if (start + entry.begin) % entry.dtype.itemsize:
        data = data.clone()
    return data.view(entry.dtype).view(entry.shape)


def _write(file: BinaryIO, tensor: Tensor) -> None:
    values = tensor.detach().cpu().contiguous()
    size = values.numel() * values.element_size()
    if size:
        # Straight from memory: the way through numpy knows no bfloat16 and needs numpy.
        file.write((ctypes.c_char * size).from_address(values.data_ptr()))


def _check_archive(path: Path) -> None:
    """Refuse what unpacks to more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{path} must hold {entry.filename} uncompressed")
