"""The command line of ``scripts/train_mlm.py``: its options, their defaults, and their checks.

The one idea: a size brings a model together with the training that suits it, and every number of
that training has an option of its own. What decides the curves is part of the fingerprint, which a
checkpoint belongs to; device, folder and compilation are not, so a training may move.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from loop.architecture import ARCHITECTURES
from loop.command import (
    BadSetting,
    add_machine,
    device,
    option,
    require_dropout,
    require_positive,
)

from mlm import positions
from mlm.text import KINDS


class Size(NamedTuple):
    """What the training of a model of this size takes where no option says otherwise."""

    steps: int
    batch: int
    seq_len: int
    lr: float


SIZES = {
    "tiny": Size(steps=800, batch=16, seq_len=64, lr=2e-3),
    "mini": Size(steps=2000, batch=64, seq_len=64, lr=1e-3),
    "small": Size(steps=10_000, batch=32, seq_len=256, lr=5e-4),
    "base": Size(steps=100_000, batch=64, seq_len=512, lr=1e-4),
}


@dataclass(frozen=True)
class Settings:
    """Every option under its own name, checked and with defaults filled in."""

    text: tuple[Path, ...]
    tokens: str
    vocab_size: int
    positions: tuple[str, ...]
    size: str
    steps: int
    batch: int
    seq_len: int
    lr: float
    dropout: float
    seed: int
    device: torch.device
    dtype: str
    compile: bool
    out: Path
    restart: bool

    def fingerprint(self, digest: str) -> dict[str, str]:
        """What a checkpoint belongs to, option by option; digest stands for the text."""
        names = ["size", "steps", "batch", "seq_len", "lr", "dropout", "seed", "dtype", "tokens"]
        if self.tokens == "wordpiece":
            names.append("vocab_size")
        return {
            "a text of digest": digest,
            "--positions": ",".join(self.positions),
            **{option(name): str(getattr(self, name)) for name in names},
        }


def parse(argv: list[str] | None, description: str) -> Settings:
    """Settings from a command line; raises BadSetting, or exits as argparse does."""
    given = vars(parser(description).parse_args(argv))
    size = SIZES[given["size"]]
    for name in ("steps", "batch", "seq_len", "lr"):
        if given[name] is None:
            given[name] = getattr(size, name)
    require_positive(given, "steps", "batch", "seq_len", "lr", "vocab_size")
    require_dropout(given["dropout"])
    given["text"] = tuple(given["text"])
    given["positions"] = tuple(dict.fromkeys(given["positions"].split(",")))
    for name in given["positions"]:
        if name not in positions.SCHEMES:
            raise BadSetting(
                f"--positions must list some of {', '.join(positions.SCHEMES)}, got {name!r}"
            )
    given["device"] = device(given["device"])
    return Settings(**given)


def parser(description: str) -> argparse.ArgumentParser:
    sizes = "\n".join(
        f"  {name:<6} {ARCHITECTURES[name]}; "
        f"{size.steps:,} steps of {size.batch} x {size.seq_len} tokens, learning rate {size.lr:g}"
        for name, size in SIZES.items()
    )
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"sizes and their defaults:\n{sizes}\n\nbase is the model of the paper's experiment "
        "with its batch, length and steps; its learning\nrate there is 1e-5.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is learned")
    add = what.add_argument
    add(
        "--text",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help="texts to learn (default: Python's help topics)",
    )
    add(
        "--tokens",
        choices=KINDS,
        default="char",
        help="wordpiece: words and pieces of words, learned from the text; the model then comes "
        "with a RoFormerTokenizer, for scripts/finetune.py (default: %(default)s)",
    )
    add("--vocab-size", type=int, default=8000, metavar="N", help="of wordpiece (default: 8000)")
    every = ",".join(positions.SCHEMES)
    add("--positions", default=every, metavar="LIST", help=f"some of {every} (default: all)")
    add("--size", choices=SIZES, default="tiny", help="model, see below (default: %(default)s)")

    how = parser.add_argument_group("how it is trained (defaults: see the sizes)")
    add = how.add_argument
    add("--steps", type=int, metavar="N", help="optimizer steps of each run")
    add("--batch", type=int, metavar="N", help="windows of text per step")
    add("--seq-len", type=int, metavar="N", help="tokens per window")
    add("--lr", type=float, metavar="X", help="highest learning rate")
    add("--dropout", type=float, default=0.0, metavar="P", help="default: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="of weights and batches (default: 0)")

    where = add_machine(parser, "runs/mlm")
    where.add_argument(
        "--compile", action="store_true", help="run the models through torch.compile"
    )
    return parser
