"""Uses an installed package as its first user would, with torch alone beside it.

The idea: the operator is held to the plain PyTorch that it comes with, forward and backward; a
small model learns, is saved, and loaded with the same bits. The checkpoint stays in FOLDER for
the program in C++ that is run next.

    python -I scripts/wheel_check/smoke.py FOLDER      (-I: only what is installed can be found)
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import torch

import roformer_ext
from roformer_ext import reference


def check_installed() -> None:
    """The package comes from the environment, whose torch is the one that it was built for."""
    place = Path(roformer_ext.__file__)
    assert place.is_relative_to(sys.prefix), f"roformer_ext must come from here, got {place}"
    assert roformer_ext.__version__ == metadata.version("roformer_ext")
    others = {"numpy", "transformers", "safetensors"}
    assert not others & sys.modules.keys(), "torch alone was to be here"


def check_operator() -> None:
    """Forward and backward equal the reference bit for bit."""
    cos, sin = reference.tables(torch.arange(7), 8)
    x = torch.randn(2, 3, 7, 8)
    upstream = torch.randn_like(x)
    for interleaved in (False, True):
        results = []
        for rope in (roformer_ext.rope, reference.rope):
            leaf = x.clone().requires_grad_()
            y = rope(leaf, cos, sin, interleaved=interleaved)
            y.backward(upstream)
            results.append((y.detach(), leaf.grad))
        (ours, our_grad), (theirs, their_grad) = results
        assert torch.equal(ours, theirs) and torch.equal(our_grad, their_grad)


def check_model(folder: Path) -> None:
    """A step of training lowers the loss, and a saved model is the same model."""
    config = roformer_ext.RoFormerConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = roformer_ext.RoFormerForMaskedLM(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.randint(5, 40, (2, 9))
    before = model(ids, labels=ids).loss
    before.backward()
    optimizer.step()
    assert model(ids, labels=ids).loss < before
    model.save_pretrained(folder)
    loaded = roformer_ext.RoFormerForMaskedLM.from_pretrained(folder)
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, loaded(ids).logits)


if __name__ == "__main__":
    torch.manual_seed(0)
    check_installed()
    check_operator()
    check_model(Path(sys.argv[1]))
    info = roformer_ext.build_info()
    print(f"roformer_ext {info['version']} works with torch {torch.__version__}: {info}")
