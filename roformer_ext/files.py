"""A checkpoint directory: config.json and tensors, in one file or in shards, and nothing of models.

The idea: a directory is read by the first of four file names that is there, and written under
temporary names that are renamed at the end. What must stay true: at every moment of a save the
directory holds the old checkpoint, the new one, or no config.json at all, so that an interrupted
save is an error for whoever reads it, never a mixture.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from .tensor_file import read_pickle, read_safetensors, write_safetensors

CONFIG = "config.json"
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLE = "pytorch_model.bin"
# In the order in which they are looked for.
_KINDS = (_SINGLE, _INDEX, _PICKLE, f"{_PICKLE}.index.json")
_SHARD = re.compile(r"(model-\d+-of-\d+\.safetensors|pytorch_model-\d+-of-\d+\.bin)")
_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}
_LARGEST_JSON = 64 * 2**20


class Tensors(NamedTuple):
    """What a directory holds."""

    path: Path
    """The file of all tensors, or the index of the shards."""
    by_name: dict[str, Tensor]


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of `config.json`.

    FileNotFoundError where there is none; ValueError where it is not a JSON object.
    """
    path = Path(directory) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"directory must hold {CONFIG}, got {str(directory)!r}")
    return _json_object(path)


def read_tensors(directory: str | os.PathLike[str]) -> Tensors:
    """The tensors of a directory; they are views of its files until they are copied.

    Looks for model.safetensors, its index, pytorch_model.bin, its index, in this order.
    FileNotFoundError where there is none of them, or where the index names a file that is not
    there; ValueError names the file and the tensor or the byte.
    """
    folder = Path(directory)
    for name in _KINDS:
        path = folder / name
        if path.is_file():
            return Tensors(path, _read_shards(path) if name.endswith(".json") else _read(path))
    names = ", ".join(_KINDS)
    raise FileNotFoundError(f"directory must hold one of {names}, got {str(directory)!r}")


def write_checkpoint(
    directory: str | os.PathLike[str],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    max_shard_size: int | str = "5GB",
) -> None:
    """Write `config.json` and the tensors, as safetensors; weights already there are replaced.

    max_shard_size: bytes of tensors in one file, or a text like "200MB"; a larger tensor has a file
        of its own, and what fits into one file is one file, `model.safetensors`.

    The directory is made if it is missing, and other files in it are left alone.
    """
    folder = Path(directory)
    shards = _shards(tensors, _bytes(max_shard_size))
    text = json.dumps(dict(config), indent=2, sort_keys=True) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    # Inside the directory, because a rename works within one file system only.
    temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        for name, names in shards.items():
            write_safetensors(temporary / name, {each: tensors[each] for each in names})
        new = [*shards]
        if len(shards) > 1:
            new.append(_INDEX)
            _write_text(temporary / _INDEX, _index(shards, tensors))
        _write_text(temporary / CONFIG, text)
        _replace(folder, temporary, new, text)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(path: Path) -> dict[str, Tensor]:
    return read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = _json_object(index).get("weight_map")
    if not isinstance(places, dict):
        raise ValueError(f"{index} must have an object weight_map, got {type(places).__name__}")
    suffix = ".safetensors" if index.name == _INDEX else ".bin"
    for name, shard in places.items():
        if not isinstance(shard, str) or not shard.endswith(suffix) or not _is_plain(shard):
            raise ValueError(
                f"{index} must give {name} the name of a {suffix} file beside it, got {shard!r}"
            )
    result: dict[str, Tensor] = {}
    for shard in dict.fromkeys(places.values()):
        path = index.parent / shard
        if not path.is_file():
            raise FileNotFoundError(f"{index} names {shard}, which is not there")
        for name, tensor in _read(path).items():
            if places.get(name) != shard:
                raise ValueError(
                    f"{path} must hold what {index.name} says, got {name}, which belongs to "
                    f"{places.get(name, 'no file')}"
                )
            result[name] = tensor
    for name, shard in places.items():
        if name not in result:
            raise ValueError(f"{index.parent / shard} must hold {name}, as {index.name} says")
    return result


def _is_plain(name: str) -> bool:
    """Whether it names a file of the same directory, on any system."""
    return not any(mark in name for mark in ("/", "\\", ":", "\0"))


def _json_object(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _LARGEST_JSON:
        raise ValueError(f"{path} must be at most {_LARGEST_JSON} bytes long, got {size}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be JSON, got: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must be a JSON object, got {type(values).__name__}")
    return values


def _bytes(size: int | str) -> int:
    if isinstance(size, str):
        found = re.fullmatch(r"(\d+)\s*([KMG]?I?B)?", size.strip().upper())
        unit = _UNITS.get((found[2] or "") if found else "?")
        number = 0 if found is None or unit is None else int(found[1]) * unit
    else:
        number = size
    if number < 1:
        raise ValueError(f"max_shard_size must be bytes, or like '5GB' or '200MiB', got {size!r}")
    return number


def _shards(tensors: Mapping[str, Tensor], limit: int) -> dict[str, list[str]]:
    """The names in each file, in the order given."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if filled + size > limit and groups[-1]:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        return {_SINGLE: groups[0]}
    count = len(groups)
    return {
        f"model-{number:05d}-of-{count:05d}.safetensors": group
        for number, group in enumerate(groups, 1)
    }


def _index(shards: Mapping[str, list[str]], tensors: Mapping[str, Tensor]) -> str:
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    places = {name: shard for shard, names in shards.items() for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    return json.dumps(index, indent=2, sort_keys=True) + "\n"


def _write_text(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _replace(folder: Path, temporary: Path, new: list[str], config: str) -> None:
    """Put the new files in the place of the old ones; see the top of this file."""
    old_config = folder / CONFIG
    same = old_config.is_file() and old_config.read_bytes() == config.encode()
    stale = [
        path
        for path in folder.iterdir()
        if (path.name in _KINDS or _SHARD.fullmatch(path.name)) and path.name not in new
    ]
    # One file under the name that is looked for first goes in at one stroke.
    if not (same and new == [_SINGLE]):
        old_config.unlink(missing_ok=True)
        for path in stale:
            path.unlink(missing_ok=True)
    for name in new:
        os.replace(temporary / name, folder / name)
    os.replace(temporary / CONFIG, old_config)
    for path in stale:
        path.unlink(missing_ok=True)
