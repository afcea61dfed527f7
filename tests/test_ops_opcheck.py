"""`torch.library.opcheck` on every sample: schema, fake tensors, autograd registration, and AOT
tracing.

The out-of-place form is traced with x requiring grad, and again with both tables doing so; the
in-place form without gradients, and with a table that makes x join the graph, because opcheck's
own inputs are leaves, which an in-place operator refuses. Fake and real strides are compared here
as well (trap 5).
"""

from __future__ import annotations

import pytest
import torch
from samples import SAMPLES, Sample

import roformer_ext.ops  # noqa: F401  (loads the operators)

ROPE = torch.ops.roformer_ext.rope.default
ROPE_ = torch.ops.roformer_ext.rope_.default
COMPOSITE = torch.ops.roformer_ext._rope_composite.default
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")
CHOSEN = (
    "bhsd",
    "ids_bs",
    "rows_sbhd",
    "heads_across_parts",
    "last_dims_transposed",
    "offset_and_heads",
)


def test_rope(sample: Sample, device: torch.device) -> None:
    """x requires grad: the autograd function."""
    x, cos, sin, ids, options = sample(torch.float32, device)
    torch.library.opcheck(
        ROPE, (x.detach().requires_grad_(), cos, sin, ids), options, test_utils=QUICK
    )


@pytest.mark.parametrize("name", CHOSEN)
def test_rope_traced(name: str, device: torch.device) -> None:
    """The chosen few are traced in the ordinary run, static and dynamic."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    torch.library.opcheck(ROPE, (x.detach().requires_grad_(), cos, sin, ids), options)


@pytest.mark.slow
def test_every_sample_traced(sample: Sample, device: torch.device) -> None:
    """All of them, with and without table gradients, in and out of place."""
    x, cos, sin, ids, options = sample(torch.float32, device)
    leaf = x.detach().requires_grad_()
    torch.library.opcheck(ROPE, (leaf, cos, sin, ids), options)
    if not sample.shared_memory:
        torch.library.opcheck(ROPE_, (x, cos, sin, ids), options)
    torch.library.opcheck(
        ROPE, (leaf, cos.detach().requires_grad_(), sin.detach().requires_grad_(), ids), options
    )


@pytest.mark.parametrize("name", CHOSEN)
def test_rope_with_table_gradients(name: str, device: torch.device) -> None:
    """Tables require grad: the composite route."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    leaves = tuple(tensor.detach().requires_grad_() for tensor in (x, cos, sin))
    torch.library.opcheck(ROPE, (*leaves, ids), options)


@pytest.mark.parametrize("table_grad", [False, True], ids=["no gradient", "table gradient"])
def test_rope_in_place(sample: Sample, table_grad: bool, device: torch.device) -> None:
    """The declared alias is the one that is written."""
    if sample.shared_memory:
        pytest.skip("rope_ refuses x whose elements share memory: test_shared_elements_are_refused")
    x, cos, sin, ids, options = sample(torch.float32, device)
    cos = cos.detach().requires_grad_(table_grad)
    torch.library.opcheck(ROPE_, (x, cos, sin, ids), options, test_utils=QUICK)


@pytest.mark.parametrize("name", CHOSEN)
def test_rope_in_place_traced(name: str, device: torch.device) -> None:
    """The chosen few of the in-place form through functionalisation."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    torch.library.opcheck(ROPE_, (x, cos, sin, ids), options)


@pytest.mark.parametrize("name", CHOSEN)
def test_composite(name: str, device: torch.device) -> None:
    """The composite is an operator like any other."""
    x, cos, sin, ids, options = SAMPLES[name](torch.float32, device)
    torch.library.opcheck(COMPOSITE, (x.detach().requires_grad_(), cos, sin, ids), options)


def test_tags() -> None:
    """Both operators say that they are safe to compile."""
    for operator in (ROPE, ROPE_):
        assert torch.Tag.pt2_compliant_tag in operator.tags
