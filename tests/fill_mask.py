"""examples/cpp/fill_mask for its tests: built once, given small checkpoints, its output read back.

What must stay true: test processes build into one folder one after the other, as run.sh beside the
program does, with warnings as errors. ROFORMER_EXT_FILL_MASK_BUILD names another folder, for a
build of another kind.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from scripts_path import importable
from token_samples import ours

import roformer_ext
from roformer_ext import RoFormerConfig, RoFormerForMaskedLM

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("ROFORMER_EXT_FILL_MASK_BUILD", ROOT / "build" / "fill_mask")).resolve()
PAIR = re.compile(r"  '(.*?)' ([0-9.]+)(?=  '|$)")
CORPUS = "The rotary model turns each query and key by its angle: é, 中文.\n"
LENGTH = 64


class Filled(NamedTuple):
    """One answer: the line, and (token, probability) by mask and rank."""

    text: str
    masks: list[list[tuple[str, float]]]


@cache
def program() -> Path:
    """Built against the package that Python imports."""
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("ninja") is None:
        pytest.skip("needs cmake and ninja")
    library = Path(roformer_ext.__file__).parent / "lib" / "libroformer_ext_encoder.so"
    if not library.exists():
        pytest.skip("roformer_ext was built without the C++ encoder")
    BUILD.mkdir(parents=True, exist_ok=True)
    prefixes = f"{roformer_ext.cmake_prefix_path};{torch.utils.cmake_prefix_path}"
    commands = (
        [cmake, "-S", ROOT / "examples/cpp/fill_mask", "-B", BUILD, "-G", "Ninja",
         f"-DCMAKE_PREFIX_PATH={prefixes}", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"],
        [cmake, "--build", BUILD],
    )  # fmt: skip
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return BUILD / "fill_mask"


def run(*arguments: object, lines: str | bytes = b"") -> subprocess.CompletedProcess[str]:
    """The finished program; its output is UTF-8 whatever the lines are."""
    given = lines.encode() if isinstance(lines, str) else lines
    done = subprocess.run([program(), *map(str, arguments)], input=given, capture_output=True)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def read(output: str) -> dict[int, Filled]:
    """The answers by line number, in the order in which they were written."""
    found: dict[int, Filled] = {}
    for line in output.removesuffix("\n").split("\n"):
        if line.startswith("  "):
            pairs = [(token, float(share)) for token, share in PAIR.findall(line)]
            next(reversed(found.values())).masks.append(pairs)
        else:
            number, text = line.split(": ", 1)
            found[int(number)] = Filled(text, [])
    return found


def answers(*arguments: object, lines: str | bytes) -> dict[int, Filled]:
    """Answers to lines that all have one."""
    done = run(*arguments, lines=lines)
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


def rows(*arguments: object, lines: str) -> list[list[int]]:
    """The ids of every line."""
    done = run(*arguments, "--tokens", lines=lines)
    assert done.returncode == 0, done.stderr
    found = done.stdout.removesuffix("\n").split("\n")
    return [[int(place) for _, place in PAIR.findall(line.partition(":")[2])] for line in found]


def write_model(
    folder: Path, vocab_size: int, *, width: int = 32, favourite: int | None = None
) -> None:
    """A random model, whose answers depend on every token and its place.

    favourite: the token that it answers everywhere; None for no such.
    """
    torch.manual_seed(vocab_size)
    config = RoFormerConfig(
        vocab_size=vocab_size, hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * width, max_position_embeddings=LENGTH, type_vocab_size=1,
    )  # fmt: skip
    model = RoFormerForMaskedLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "LayerNorm" not in name:
                weight.normal_(std=0.3)
        if favourite is not None:
            model.get_parameter("cls.predictions.bias")[favourite] = 1000
    model.save_pretrained(folder)


def write_characters(folder: Path, kind: str, favourite: str | None = None) -> None:
    """A checkpoint of characters or bytes, as scripts/train_mlm.py leaves it."""
    with importable():
        from mlm.characters import SPECIALS, Characters
    vocabulary = Characters.of(kind, CORPUS)
    liked = None if favourite is None else len(SPECIALS) + vocabulary.symbols.index(favourite)
    write_model(folder, len(vocabulary), favourite=liked)
    vocabulary.save(folder)


def write_wordpiece(folder: Path, favourite: str | None = None) -> None:
    """A checkpoint of word pieces with its tokenizer."""
    tokenizer = ours("characters")
    tokenizer.save_pretrained(folder)
    liked = None if favourite is None else tokenizer.convert_tokens_to_ids(favourite)
    write_model(folder, len(tokenizer), favourite=liked)
