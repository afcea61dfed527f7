"""One layer against its formula, the two norms, and how parameters start."""

from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import randomise, small

from roformer_ext.layer import RoFormerLayer, initialise, norm


def test_layer_is_post_norm() -> None:
    layer = RoFormerLayer(small()).eval()
    randomise(layer)
    x = torch.randn(2, 5, 32)
    context, _ = layer.attention.self(x)
    output = layer.attention.output
    y = F.layer_norm(
        output.dense(context) + x, (32,), output.LayerNorm.weight, output.LayerNorm.bias, 1e-12
    )
    up = F.gelu(layer.intermediate.dense(y))
    z = layer.output.LayerNorm(layer.output.dense(up) + y)
    torch.testing.assert_close(layer(x)[0], z)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_feed_forward_in_chunks_changes_nothing(chunk: int) -> None:
    layer = RoFormerLayer(small()).eval()
    x = torch.randn(2, 5, 32)
    expected = layer(x)[0]
    layer.chunk = chunk
    torch.testing.assert_close(layer(x)[0], expected)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "relu", "silu", "quick_gelu"])
def test_feed_forward_in_small_memory_changes_nothing(
    hidden_act: str, grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = RoFormerLayer(small(hidden_act=hidden_act)).eval()
    x = torch.randn(3, 5, 32)
    expected = layer(x)[0]
    rows: list[int] = []
    monkeypatch.setattr("roformer_ext.layer._WIDENED_BYTES", 4 * layer.widened * 4)
    layer.output.register_forward_hook(lambda module, args, result: rows.append(args[0].numel()))
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(layer(x)[0], expected)
        assert layer(x[:0])[0].shape == (0, 5, 32)
    # Pieces of at most 4 of the 15 tokens, unless a backward would keep all of them anyway.
    wanted = [15] if grad else [4, 4, 4, 3]
    assert [n // layer.widened for n in rows] == [*wanted, 0]


def test_hook_on_the_widening_sees_what_it_computed() -> None:
    layer = RoFormerLayer(small()).eval()
    kept: list[torch.Tensor] = []
    layer.intermediate.dense.register_forward_hook(lambda *call: kept.append(call[2]))
    with torch.no_grad():
        layer(torch.randn(2, 5, 32))
    assert kept[0].min() < -0.2  # below anything that gelu returns


def _derivatives(layer: RoFormerLayer, x: Tensor) -> list[Tensor]:
    """Those of the feed-forward sublayer: the first by x and its parameters, the second by x."""
    x = x.clone().requires_grad_()
    inputs = [x, *layer.intermediate.parameters(), *layer.output.parameters()]
    first = torch.autograd.grad(layer._feed_forward(x).pow(3).sum(), inputs, create_graph=True)
    (second,) = torch.autograd.grad(first[0].square().sum(), x)
    return [*(grad.detach() for grad in first), second]


@pytest.mark.parametrize("hidden_act", ["gelu", "silu", "relu", "tanh"])
def test_backward_computes_the_activation_again(
    hidden_act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its result, which is as wide as its argument, is gone after forward; no bit changes."""
    layer, x = RoFormerLayer(small(hidden_act=hidden_act)).double(), torch.randn(2, 5, 32).double()
    function, results = layer.intermediate.activation, []

    def watched(x: Tensor) -> Tensor:
        result = function(x)
        results.append(weakref.ref(result.untyped_storage()))
        return result

    if hidden_act in ("gelu", "silu"):
        monkeypatch.setattr(layer.intermediate, "activation", watched)
        y = layer(x)[0]
        assert len(results) == 1 and results[0]() is None
        y.sum().backward()
        assert len(results) == 2
    again = _derivatives(layer, x)
    # With a hook there it is called as a whole, and what it returns is kept.
    seen: list[Tensor] = []
    layer.intermediate.register_forward_hook(lambda *call: seen.append(call[2]))
    for actual, expected in zip(again, _derivatives(layer, x), strict=True):
        assert torch.equal(actual, expected)
    assert len(seen) == 1 and seen[0].shape == (2, 5, layer.widened)


def test_products_that_draw_draw_the_same_in_backward() -> None:
    layer, x = RoFormerLayer(small()).double(), torch.randn(2, 5, 32).double()
    layer.output.dense = nn.Sequential(nn.Dropout(0.5), layer.output.dense)  # type: ignore[assignment]
    gradients = []
    for hooks in range(2):
        if hooks:
            layer.intermediate.register_forward_hook(lambda *call: None)
        torch.manual_seed(0)
        gradients.append(torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters())))
    for actual, expected in zip(*gradients, strict=True):
        assert torch.equal(actual, expected)


def test_rms_norm_has_no_gain() -> None:
    module = norm(8, small(norm_type="rms_norm", layer_norm_eps=0.5))
    x = torch.randn(3, 8)
    torch.testing.assert_close(module(x), x / (x.square().mean(-1, keepdim=True) + 0.5).sqrt())
    assert not list(module.parameters())


def test_dropout_acts_in_training_only() -> None:
    fields = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    layer, x = RoFormerLayer(small(**fields)), torch.randn(2, 5, 32)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    weights = layer(x, output_attentions=True)[1]
    assert 0.2 < (weights == 0.0).float().mean() < 0.8
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_initialisation() -> None:
    linear, embedding, gain = nn.Linear(200, 100), nn.Embedding(300, 40, 7), nn.LayerNorm(5)
    nn.init.zeros_(gain.weight)
    for module in (linear, embedding, gain):
        initialise(module, 0.05)
    assert linear.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert embedding.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert not linear.bias.any() and not embedding.weight[7].any() and not gain.bias.any()
    assert torch.equal(gain.weight, torch.ones(5))
