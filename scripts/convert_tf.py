"""Convert a TensorFlow checkpoint of RoFormer's original release, without TensorFlow.

Reads the variables (bert_model.ckpt.index and .data-...), bert_config.json and vocab.txt of a
release, V1, V2 or Sim, and leaves a folder that `from_pretrained` loads, here and, for V1, in
transformers. Every checksum, name and shape is checked; what training left beside the weights is
passed over, and a variable that no RoFormer has is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tf import BadCheckpoint
from tf.bundle import INDEX, Bundle
from tf.convert import Model, convert, size
from tf.names import of_model
from tf.settings import SIM, read_settings, unused
from tqdm import tqdm

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
CONFIG, VOCABULARY = "bert_config.json", "vocab.txt"


def main(argv: list[str] | None = None) -> int:
    """Run the script; the status is 0 when the folder is written, 2 when nothing was."""
    options = parser().parse_args(argv)
    try:
        run(options)
    except (BadCheckpoint, OSError) as error:
        print(f"convert_tf.py: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    prefix = find(options.checkpoint)
    out: Path = options.out
    if out.exists() and not out.is_dir():
        raise BadCheckpoint(f"OUT must be a folder, got the file {out}")
    if out.is_dir() and any(out.iterdir()) and not options.overwrite:
        raise BadCheckpoint(
            f"OUT must be a new or empty folder, got {out}; --overwrite writes there"
        )
    bundle = Bundle(prefix)
    names = of_model(bundle.entries, options.ignore)
    stated = read_settings(options.config or prefix.with_name(CONFIG))
    vocabulary = options.vocab or prefix.with_name(VOCABULARY)
    if options.vocab and not vocabulary.is_file():
        raise BadCheckpoint(f"--vocab must be a file, got {vocabulary}")
    # Read before anything is written, and it may be the very file that is written.
    words = vocabulary.read_bytes() if vocabulary.is_file() else None
    changes = {**(SIM if options.sim else {}), **dict(options.set)}
    dtype = DTYPES[options.dtype] if options.dtype else None
    with tqdm(
        total=size(bundle, names), unit="B", unit_scale=True, desc="reading", disable=options.quiet
    ) as bar:
        model = convert(bundle, names, stated, changes, dtype, bar.update)
    model.save_pretrained(out)
    if words is not None:
        (out / VOCABULARY).write_bytes(words)
    if not options.quiet:
        print(summary(model, len(bundle.entries) - len(names), unused(stated), vocabulary, out))


def find(path: Path) -> Path:
    """The checkpoint's prefix: given as it is, with .index, or by the folder it lies in."""
    if path.is_dir():
        found = sorted(path.glob(f"*{INDEX}"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise BadCheckpoint(
                f"CHECKPOINT must be a folder with one *{INDEX}, got {names}: {path}"
            )
        path = found[0]
    prefix = path.with_name(path.name.removesuffix(INDEX))
    if not prefix.with_name(prefix.name + INDEX).is_file():
        raise BadCheckpoint(f"CHECKPOINT must have an index, {prefix}{INDEX}, and there is none")
    return prefix


def summary(model: Model, left_out: int, fields: list[str], vocabulary: Path, out: Path) -> str:
    config = model.config
    parameters = sum(weight.numel() for weight in model.parameters())
    lines = [
        f"model    {type(model).__name__}, {config.num_hidden_layers} layers x "
        f"{config.hidden_size}, vocabulary of {config.vocab_size:,}, {parameters:,} parameters",
        f"left out {left_out} variables of training or by --ignore",
    ]
    if fields:
        lines.append(f"no use   for {', '.join(fields)} of {CONFIG}")
    if not vocabulary.is_file():
        lines.append(f"missing  {vocabulary}: without it there is no tokenizer")
    return "\n".join([*lines, f"written  {out}"])


def setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, where a value that is no JSON is a string."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"must be a regular expression: {error}") from None
    return text


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="its folder, or .../bert_model.ckpt")
    add("out", type=Path, metavar="OUT", help="folder to write: config.json, weights, vocab.txt")
    add("--config", type=Path, metavar="FILE", help=f"default: {CONFIG} beside the checkpoint")
    add("--vocab", type=Path, metavar="FILE", help=f"default: {VOCABULARY} there, if there is one")
    add("--dtype", choices=DTYPES, help="of the weights (default: as in the checkpoint)")
    add("--sim", action="store_true", help="a RoFormer-Sim: prefix mask, linear pooler, eos 102")
    add(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"a field of RoFormerConfig that {CONFIG} does not state, or states otherwise",
    )
    add(
        "--ignore",
        type=pattern,
        action="append",
        default=[],
        metavar="REGEX",
        help="leave out the variables in whose name it is found; may be given several times",
    )
    add("--overwrite", action="store_true", help="write into OUT whatever it holds")
    add("--quiet", action="store_true", help="no progress bar, no summary")
    return parser


if __name__ == "__main__":
    sys.exit(main())
