"""Write a checkpoint directory as one file for deployment: an AOTInductor package or ONNX.

The end of OUT chooses: .pt2 is compiled for one device and runs in Python and in C++ (a decomposed
one without any library of ours), .onnx runs in ONNX Runtime. Nothing is called done before the
file itself, loaded again, has given the model's results at several lengths.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import roformer_ext
from roformer_ext import export

HEADS = {
    "encoder": "RoFormerModel",
    "masked-lm": "RoFormerForMaskedLM",
    "causal-lm": "RoFormerForCausalLM",
    "sequence-classification": "RoFormerForSequenceClassification",
    "token-classification": "RoFormerForTokenClassification",
    "question-answering": "RoFormerForQuestionAnswering",
    "multiple-choice": "RoFormerForMultipleChoice",
}
SIZES = ((1, 1), (2, 9), (3, 60))
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}


def main(argv: list[str] | None = None) -> int:
    """Run the script; 0: OUT is written and checked, 1: its results differ, 2: it was not made."""
    options = parser().parse_args(argv)
    try:
        model = load(options)
        write(model, options)
        worst = max(differences(model, options.out))
    except (ImportError, OSError, ValueError) as error:
        print(f"export.py: {error}", file=sys.stderr)
        return 2
    allowed = TOLERANCE.get(next(model.parameters()).dtype, 5e-2)
    verdict = "agrees with" if worst <= allowed else "DIFFERS from"
    print(
        f"{options.out} {verdict} the model: {worst:.1e} of the largest value (at most {allowed})"
    )
    return 0 if worst <= allowed else 1


def load(options: argparse.Namespace) -> Any:
    if options.out.suffix not in (".pt2", ".onnx"):
        raise ValueError(f"OUT must end in .pt2 or .onnx, got {options.out}")
    kind = getattr(roformer_ext, HEADS[options.head])
    return kind.from_pretrained(options.checkpoint).to(options.device).eval()


def write(model: Any, options: argparse.Namespace) -> None:
    if options.out.suffix == ".onnx":
        from roformer_ext.onnx import export_onnx

        export_onnx(model, options.out)
        return
    export.package(export.export(model, decompose=options.decompose), options.out)


def differences(model: Any, path: Path) -> Iterator[float]:
    """Of every result at every size, relative to its largest value."""
    run = runner(path)
    for batch, seq in SIZES:
        inputs = draw(model, batch, seq)
        with torch.no_grad():
            expected = model(**inputs, unpad=False, return_dict=False)
        expected = [value for value in expected if isinstance(value, Tensor)]
        for one, other in zip(run(inputs), expected, strict=True):
            scale = other.abs().max().clamp(min=1.0)
            yield float(((one.to(other.device) - other).abs().max() / scale).detach())


def draw(model: Any, batch: int, seq: int) -> dict[str, Tensor]:
    """Random ids, with padding in the first row."""
    taken = export.example(model)
    shape = (batch, *taken["input_ids"].shape[1:-1], seq)
    device = taken["input_ids"].device
    ids = torch.randint(model.config.vocab_size, shape, device=device)
    mask = torch.ones_like(ids)
    mask[0, ..., seq - seq // 3 :] = 0
    types = ids % model.config.type_vocab_size
    return dict(zip(export.INPUTS, (ids, mask, types)))


def runner(path: Path) -> Callable[[dict[str, Tensor]], list[Tensor]]:
    if path.suffix == ".pt2":
        loaded: Any = torch._inductor.aoti_load_package(str(path))
        return lambda inputs: [x for x in loaded(**inputs) if isinstance(x, Tensor)]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [taken.name for taken in session.get_inputs()]

    def run(inputs: dict[str, Tensor]) -> list[Tensor]:
        arrays = session.run(None, {name: inputs[name].cpu().numpy() for name in names})
        return [torch.from_numpy(array) for array in arrays]

    return run


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    add: Callable[..., Any] = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="a folder that from_pretrained loads")
    add("out", type=Path, metavar="OUT", help="the file to write, *.pt2 or *.onnx")
    add("--head", choices=HEADS, default="masked-lm", help="default: %(default)s")
    add(
        "--decompose",
        action="store_true",
        help="for .pt2: use torch's own operators, so that it loads without roformer_ext",
    )
    add("--device", default="cpu", help="for .pt2: where it is to run (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
