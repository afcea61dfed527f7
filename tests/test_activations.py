"""The activation table, against transformers' and against torch's own functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from roformer_ext.activations import ACTIVATIONS, activation, in_place

X = torch.linspace(-12.0, 12.0, 481, dtype=torch.float64)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_equals_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    theirs = transformers.activations.ACT2FN[name](X)
    # gelu_fast writes sqrt(2 / pi) with seven digits.
    torch.testing.assert_close(activation(name)(X), theirs, rtol=0.0, atol=1e-7)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_in_place_is_the_same_function(name: str) -> None:
    assert torch.equal(in_place(activation(name))(X.clone()), activation(name)(X))


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "relu", "silu", "sigmoid", "tanh"])
def test_in_place_takes_no_memory(name: str) -> None:
    x = X.clone()
    assert in_place(activation(name))(x).data_ptr() == x.data_ptr()


def test_default_is_exact() -> None:
    expected = 0.5 * X * (1.0 + torch.erf(X / 2.0**0.5))
    torch.testing.assert_close(activation("gelu")(X), expected)
    assert not torch.equal(activation("gelu_new")(X), expected)
    assert torch.equal(activation("swish")(X), F.silu(X))


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden_act must be one of gelu, .*, got 'geluu'"):
        activation("geluu")
