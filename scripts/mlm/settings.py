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

from mlm import BadSetting, positions
from mlm.run import DTYPES


class Size(NamedTuple):
    """A model, and what its training takes where no option says otherwise."""

    layers: int
    width: int
    heads: int
    steps: int
    batch: int
    seq_len: int
    lr: float


SIZES = {
    "tiny": Size(2, 128, 4, steps=800, batch=16, seq_len=64, lr=2e-3),
    "small": Size(6, 384, 6, steps=10_000, batch=32, seq_len=256, lr=5e-4),
    "base": Size(12, 768, 12, steps=100_000, batch=64, seq_len=512, lr=1e-4),
}


@dataclass(frozen=True)
class Settings:
    """Every option under its own name, checked and with defaults filled in."""

    text: Path | None
    tokens: str
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
        names = ("size", "steps", "batch", "seq_len", "lr", "dropout", "seed", "dtype", "tokens")
        return {
            "a text of digest": digest,
            "--positions": ",".join(self.positions),
            **{option(name): str(getattr(self, name)) for name in names},
        }


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse(argv: list[str] | None, description: str) -> Settings:
    """Settings from a command line; raises BadSetting, or exits as argparse does."""
    given = vars(parser(description).parse_args(argv))
    size = SIZES[given["size"]]
    for name in ("steps", "batch", "seq_len", "lr"):
        if given[name] is None:
            given[name] = getattr(size, name)
        if not given[name] > 0:
            raise BadSetting(f"{option(name)} must be above zero, got {given[name]}")
    if not 0 <= given["dropout"] < 1:
        raise BadSetting(f"--dropout must be at least 0 and below 1, got {given['dropout']}")
    given["positions"] = tuple(dict.fromkeys(given["positions"].split(",")))
    for name in given["positions"]:
        if name not in positions.SCHEMES:
            raise BadSetting(
                f"--positions must list some of {', '.join(positions.SCHEMES)}, got {name!r}"
            )
    try:
        given["device"] = torch.empty(0, device=given["device"]).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise BadSetting(
            f"--device must name a device of this machine, got {given['device']} ({reason})"
        ) from None
    return Settings(**given)


def parser(description: str) -> argparse.ArgumentParser:
    sizes = "\n".join(
        f"  {name:<6} {size.layers} layers x {size.width}, {size.heads} heads; "
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
    add("--text", type=Path, metavar="FILE", help="text to learn (default: Python's help topics)")
    add("--tokens", choices=("char", "byte"), default="char", help="default: %(default)s")
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

    where = parser.add_argument_group("where it runs")
    add = where.add_argument
    device = "cuda" if torch.cuda.is_available() else "cpu"
    add("--device", default=device, metavar="NAME", help="default on this machine: %(default)s")
    add(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="bfloat16 computes under autocast, the weights stay float32 (default: %(default)s)",
    )
    add("--compile", action="store_true", help="run the models through torch.compile")
    add(
        "--out",
        type=Path,
        default=Path("runs/mlm"),
        metavar="DIR",
        help="checkpoint and results; the same command goes on from there (default: %(default)s)",
    )
    add("--restart", action="store_true", help="start over, whatever the folder holds")
    return parser
