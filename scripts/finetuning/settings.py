"""The command line of ``scripts/finetune.py``: its options, their defaults, and their checks.

The one idea: the data say what the task is, and a checkpoint says what the model is; an option is
there for where they do not, or to differ from them. What decides the result is part of the
fingerprint that a checkpoint of the training belongs to.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

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

TASKS = ("regression", "classification", "answers")


@dataclass(frozen=True)
class Settings:
    """Every option under its own name, checked."""

    data: Path
    dev: Path | None
    test: Path | None
    columns: tuple[str, ...] | None
    task: str | None
    model: Path | None
    from_scratch: bool
    size: str
    vocab_size: int
    epochs: int
    batch: int
    lr: float
    max_length: int
    dropout: float
    seed: int
    device: torch.device
    dtype: str
    out: Path
    restart: bool

    def fingerprint(self, examples: str, weights: str) -> dict[str, str]:
        """What a checkpoint belongs to; the arguments are digests."""
        names = ("epochs", "batch", "lr", "max_length", "dropout", "seed", "dtype")
        return {
            "examples of digest": examples,
            "a start from weights of digest": weights,
            **{option(name): str(getattr(self, name)) for name in names},
        }


def parse(argv: list[str] | None, description: str) -> Settings:
    """Settings from a command line; raises BadSetting, or exits as argparse does."""
    given = vars(parser(description).parse_args(argv))
    require_positive(given, "epochs", "batch", "lr", "max_length", "vocab_size")
    require_dropout(given["dropout"])
    if given["columns"] is not None:
        given["columns"] = tuple(name.strip() for name in given["columns"].split(","))
        if len(given["columns"]) not in (2, 3):
            raise BadSetting(
                "--columns must name two or three columns, separated by commas, "
                f"got {','.join(given['columns'])!r}"
            )
    given["device"] = device(given["device"])
    return Settings(**given)


def parser(description: str) -> argparse.ArgumentParser:
    sizes = "\n".join(f"  {name:<6} {size}" for name, size in ARCHITECTURES.items())
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"sizes:\n{sizes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what is learned")
    add = what.add_argument
    add("--data", type=Path, metavar="FILE", required=True, help=".csv, .tsv, or .json as in SQuAD")
    add(
        "--dev",
        type=Path,
        metavar="FILE",
        help="what decides which model is best (default: a tenth of --data)",
    )
    add("--test", type=Path, metavar="FILE", help="what the best model is scored on at the end")
    add(
        "--columns",
        metavar="LIST",
        help="text,label or text,text,label or question,context,"
        "answer: names in the header, or numbers from 1 (default: guessed)",
    )
    add(
        "--task",
        choices=TASKS,
        help="default: answers where there are questions, regression "
        "where labels are numbers with a point or of many kinds, else classification",
    )

    start = parser.add_argument_group("what it starts from")
    add = start.add_argument
    add(
        "--model",
        type=Path,
        metavar="DIR",
        help="config.json, weights of any head, vocabulary; "
        "train_mlm.py --tokens wordpiece leaves one (default: from scratch)",
    )
    add(
        "--from-scratch",
        action="store_true",
        help="take the sizes and the vocabulary of --model, but random weights",
    )
    add("--size", choices=ARCHITECTURES, default="tiny", help="without --model (default: tiny)")
    add("--vocab-size", type=int, default=8000, metavar="N", help="without --model (default: 8000)")

    how = parser.add_argument_group("how it is trained")
    add = how.add_argument
    add("--epochs", type=int, default=4, metavar="N", help="default: %(default)s")
    add("--batch", type=int, default=32, metavar="N", help="rows per step (default: %(default)s)")
    add("--lr", type=float, default=5e-5, metavar="X", help="highest rate (default: %(default)s)")
    add(
        "--max-length",
        type=int,
        default=512,
        metavar="N",
        help="tokens of a row; longer pairs are "
        "cut, longer passages are read in parts (default: %(default)s)",
    )
    add("--dropout", type=float, default=0.1, metavar="P", help="default: %(default)s")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the new head, the order and dropout (default: 0)",
    )
    add_machine(parser, "runs/finetune")
    return parser
