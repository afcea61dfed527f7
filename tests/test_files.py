"""Checkpoint directories: what is read first, shards, refusals, and saves that are interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from roformer_ext import files
from roformer_ext.files import read_config, read_tensors, write_checkpoint

CONFIG = {"model_type": "roformer", "vocab_size": 7}


def some() -> dict[str, Tensor]:
    return {
        "b": torch.arange(6.0).view(2, 3),
        "a": torch.arange(4, dtype=torch.bfloat16),
        "c": torch.tensor(2.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


def listing(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.parametrize("size", ["5GB", 30, "20B", "1 KiB"])
def test_what_is_written_is_read(tmp_path: Path, size: int | str) -> None:
    write_checkpoint(tmp_path / "new", CONFIG, some(), max_shard_size=size)
    assert read_config(tmp_path / "new") == CONFIG
    path, tensors = read_tensors(tmp_path / "new")
    assert same(tensors, some())
    whole = path.name == "model.safetensors"
    assert whole is (size in ("5GB", "1 KiB"))
    if not whole:
        index = json.loads(path.read_text())
        assert index["metadata"]["total_size"] == 24 + 8 + 8
        assert set(index["weight_map"].values()) | {"config.json", path.name} == listing(
            tmp_path / "new"
        )


@pytest.mark.parametrize("size", [0, -1, "five", "5XB", "", "-3KB"])
def test_sizes_of_shards_are_checked(tmp_path: Path, size: int | str) -> None:
    with pytest.raises(ValueError, match="max_shard_size must be bytes"):
        write_checkpoint(tmp_path / "new", CONFIG, some(), max_shard_size=size)
    assert not (tmp_path / "new").exists()


def test_others_read_our_files_and_we_theirs(tmp_path: Path) -> None:
    theirs = pytest.importorskip("safetensors.torch", reason="needs safetensors")
    write_checkpoint(tmp_path, CONFIG, some())
    assert same(theirs.load_file(tmp_path / "model.safetensors"), some())
    theirs.save_file(some(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert same(read_tensors(tmp_path).by_name, some())


def test_the_first_of_four_names_counts(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"directory must hold one of model.safetensors"):
        read_tensors(tmp_path)
    torch.save({"x": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert same(read_tensors(tmp_path).by_name, {"x": torch.ones(1)})
    write_checkpoint(tmp_path / "shards", CONFIG, some(), max_shard_size=1)
    for path in (tmp_path / "shards").iterdir():
        shutil.copy(path, tmp_path)
    assert same(read_tensors(tmp_path).by_name, some())
    shutil.copy(tmp_path / "model-00001-of-00004.safetensors", tmp_path / "model.safetensors")
    assert len(read_tensors(tmp_path).by_name) == 1


def test_shards_of_pickles(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"y": torch.zeros(2)}, tmp_path / "pytorch_model-00002-of-00002.bin")
    places = {name: f"pytorch_model-0000{i}-of-00002.bin" for i, name in ((1, "x"), (2, "y"))}
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    assert same(read_tensors(tmp_path).by_name, {"x": torch.ones(1), "y": torch.zeros(2)})


def broken(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        path = directory / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return apply


def place(name: str, shard: object) -> Callable[[Path], None]:
    return broken(lambda index: index["weight_map"].update({name: shard}))


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (broken(lambda index: index.pop("weight_map")), ValueError, "must have an object weight"),
        (place("a", "../model.safetensors"), ValueError, r"must give a the name of a .safetensors"),
        (place("a", "/etc/x.safetensors"), ValueError, r"must give a the name of a .safetensors"),
        (place("a", "c:x.safetensors"), ValueError, r"must give a the name of a .safetensors"),
        (place("a", "model.bin"), ValueError, r"must give a the name of a .safetensors file"),
        (
            place("a", 3),
            ValueError,
            r"must give a the name of a .safetensors file beside it, got 3",
        ),
        (place("a", "gone.safetensors"), FileNotFoundError, "names gone.safetensors, which is not"),
        (
            place("more", "model-00001-of-00004.safetensors"),
            ValueError,
            "00001-of-00004.safetensors must hold more, as model.safetensors.index.json says",
        ),
        (
            place("a", "model-00001-of-00004.safetensors"),
            ValueError,
            "00001-of-00004.safetensors must hold a, as model.safetensors.index.json says",
        ),
    ],
)
def test_an_index_that_lies(
    tmp_path: Path, break_it: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    write_checkpoint(tmp_path, CONFIG, some(), max_shard_size=1)
    break_it(tmp_path)
    with pytest.raises(error, match=message):
        read_tensors(tmp_path)


def test_a_shard_with_more_than_its_index_says(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, CONFIG, some(), max_shard_size=32)
    assert len(listing(tmp_path)) == 4
    broken(lambda index: index["weight_map"].pop("a"))(tmp_path)
    with pytest.raises(ValueError, match=r"says, got a, which belongs to no file"):
        read_tensors(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must be a JSON object, got list"),
        ("{", "config.json must be JSON, got: "),
        ("[" * 100_000, "config.json must be JSON, got: "),
        ("\x00", "config.json must be JSON, got: "),
    ],
)
def test_config_must_be_an_object(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"directory must hold config.json, got '"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path)


def test_a_config_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LARGEST_JSON", 10)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(ValueError, match="must be at most 10 bytes long, got 4"):
        read_config(tmp_path)


def test_a_save_replaces_weights_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    (tmp_path / "model-notes.txt").write_text("kept")
    torch.save({"x": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    write_checkpoint(tmp_path, CONFIG, some(), max_shard_size=1)
    assert "pytorch_model.bin" not in listing(tmp_path)
    write_checkpoint(tmp_path, CONFIG, {"x": torch.zeros(1)})
    assert listing(tmp_path) == {"vocab.txt", "model-notes.txt", "config.json", "model.safetensors"}
    assert same(read_tensors(tmp_path).by_name, {"x": torch.zeros(1)})


@pytest.mark.parametrize("old", ["5GB", 1])
@pytest.mark.parametrize("new", ["5GB", 1])
@pytest.mark.parametrize("changed", [False, True])
def test_an_interrupted_save_is_never_a_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Any, new: Any, changed: bool
) -> None:
    """Killed at every rename or removal in turn: the old, the new, or an error."""
    config = {**CONFIG, "vocab_size": 8} if changed else CONFIG
    after = {name: tensor + 1 for name, tensor in some().items()}
    steps = 0

    def count(act: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise KeyboardInterrupt
            return act(*args, **kwargs)

        return counted

    monkeypatch.setattr(files.os, "replace", count(files.os.replace))
    monkeypatch.setattr(Path, "unlink", count(Path.unlink))
    for survived in range(40):
        directory = tmp_path / str(survived)
        steps = 1000
        write_checkpoint(directory, CONFIG, some(), max_shard_size=old)
        steps = survived
        try:
            write_checkpoint(directory, config, after, max_shard_size=new)
        except KeyboardInterrupt:
            done = False
        else:
            done = True
        try:
            state = read_config(directory), read_tensors(directory).by_name
        except (FileNotFoundError, ValueError):
            assert not done
        else:
            is_old = state[0] == CONFIG and same(state[1], some())
            assert (state[0] == config and same(state[1], after)) or (is_old and not done)
        assert not any(name.startswith(".saving") for name in listing(directory))
        if done:
            return
    raise AssertionError("a save took more than 40 steps")
