"""The masked-LM head: parity in loss and gradients, economy in training, compiling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch._dynamo.testing
import torch.nn.functional as F
from torch import Tensor, nn
from twins import SMALL, batch, random_fields, randomise, small, twins

from roformer_ext import RoFormerConfig, RoFormerForMaskedLM

BASE: dict[str, Any] = {}
CHINESE_SMALL = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
}


def masked_lm(**fields: Any) -> RoFormerForMaskedLM:
    model = RoFormerForMaskedLM(small(**fields)).train()
    randomise(model)
    return model


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """By checkpoint name, the packed projection taken apart; cleared afterwards."""
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None or "embed_positions" in name, name
        if "qkv" not in name:
            found[name] = parameter.grad
            continue
        for third, rows in zip(("query", "key", "value"), parameter.grad.chunk(3)):
            found[name.replace("qkv", third)] = rows
    model.zero_grad(set_to_none=True)
    return {name: gradient for name, gradient in found.items() if gradient is not None}


def near(result: Tensor, expected: Tensor, relative: float) -> bool:
    return bool((result - expected).norm() <= relative * expected.norm() + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
def test_equals_transformers(seed: int, dtype: torch.dtype) -> None:
    fields = random_fields(seed)
    theirs, ours = twins(fields, dtype, seed)
    inputs = batch(fields["vocab_size"], seed=seed)
    expected = theirs(**inputs)
    expected.loss.backward()
    their_gradients = gradients(theirs)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    result = ours(**inputs)
    torch.testing.assert_close(result.logits, expected.logits, rtol=0.0, atol=tolerance)
    # In eval mode, in training on labelled rows, and in training with all logits.
    for training, output_logits in ((False, None), (True, None), (True, True)):
        result = ours.train(training)(**inputs, output_logits=output_logits)
        assert (result.logits is None) == (training and output_logits is None)
        torch.testing.assert_close(result.loss, expected.loss, rtol=1e-5, atol=0.0)
        result.loss.backward()
        for name, gradient in gradients(ours).items():
            assert near(gradient, their_gradients[name], 1e-4), name


def test_untied_equals_transformers() -> None:
    theirs, ours = twins({**SMALL, "tie_word_embeddings": False})
    inputs = batch(61)
    torch.testing.assert_close(ours(**inputs).logits, theirs(**inputs).logits)
    assert ours.get_output_embeddings().weight is not ours.get_input_embeddings().weight


def test_tuples_are_those_of_transformers() -> None:
    theirs, ours = twins(SMALL)
    asked = {"output_hidden_states": True, "output_attentions": True, "return_dict": False}
    expected, result = theirs(**batch(61), **asked), ours(**batch(61), **asked)
    assert [type(x) for x in result] == [type(x) for x in expected]
    assert len(ours(batch(61)["input_ids"], return_dict=False)) == 1


def test_logits_are_absent_only_where_they_are_saved() -> None:
    model, inputs = masked_lm(), batch(61)
    assert model(**inputs).logits is None and len(model(**inputs)) == 1
    assert model(**inputs, output_logits=True).logits.shape == (3, 13, 61)
    assert model(inputs["input_ids"]).logits.shape == (3, 13, 61)
    assert model.eval()(**inputs, output_logits=False).logits.shape == (3, 13, 61)


def test_head_runs_on_labelled_rows_only() -> None:
    model, inputs, seen = masked_lm(), batch(61), []
    model.cls.predictions.transform.register_forward_hook(lambda *x: seen.append(x[2].shape))
    model(**inputs).loss.backward()
    assert seen == [((inputs["labels"] != -100).sum(), 32)]


def test_int32_ids_and_labels() -> None:
    model, inputs = masked_lm(), batch(61)
    short = {name: value.int() for name, value in inputs.items()}
    for training in (True, False):
        assert torch.equal(model.train(training)(**short).loss, model(**inputs).loss)


@pytest.mark.parametrize("items", ["int", "tensor"])
@pytest.mark.parametrize("output_logits", [None, True])
def test_micro_batches_add_up_to_their_union(items: str, output_logits: bool | None) -> None:
    model, inputs = masked_lm().double(), batch(61, (6, 13))
    # The last micro-batch has no label at all.
    inputs["labels"][4:] = -100
    whole = model(**inputs).loss
    whole.backward()
    expected = gradients(model)
    count = (inputs["labels"] != -100).sum()
    total = 0.0
    for part in range(3):
        micro = {name: value[2 * part : 2 * part + 2] for name, value in inputs.items()}
        loss = model(
            **micro,
            num_items_in_batch=count if items == "tensor" else int(count),
            output_logits=output_logits,
        ).loss
        loss.backward()
        total += loss.item()
    assert loss == 0.0
    assert total == pytest.approx(whole.item())
    for name, gradient in gradients(model).items():
        assert near(gradient, expected[name], 1e-9), name


@pytest.mark.parametrize("training", [True, False])
def test_no_label_gives_nan_as_torch_does(training: bool) -> None:
    model, inputs = masked_lm().train(training), batch(61)
    inputs["labels"].fill_(-100)
    loss = model(**inputs).loss
    loss.backward()
    assert loss.isnan()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_types(dtype: torch.dtype, autocast: bool) -> None:
    model, inputs = masked_lm(), batch(61)
    expected = model(**inputs).loss
    if not autocast:
        model.to(dtype)
    for output_logits in (None, True):
        with torch.autocast("cpu", dtype, enabled=autocast):
            loss = model(**inputs, output_logits=output_logits).loss
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, expected, rtol=0.05, atol=0.0)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())


def compare_compiled(model: RoFormerForMaskedLM, compiled: Any, sizes: tuple[int, int]) -> None:
    inputs = batch(61, sizes, seed=sizes[1])
    # A graph never drops padding.
    result, expected = compiled(**inputs), model(**inputs, unpad=False)
    torch.testing.assert_close(result.loss, expected.loss)
    if expected.logits is not None:
        torch.testing.assert_close(result.logits, expected.logits, rtol=0.0, atol=1e-4)
    result.loss.backward()
    compiled_gradients = gradients(model)
    expected.loss.backward()
    for name, gradient in gradients(model).items():
        assert near(compiled_gradients[name], gradient, 1e-4), name


@pytest.mark.parametrize("training", [True, False])
def test_one_graph_serves_every_size(training: bool) -> None:
    torch._dynamo.reset()
    graphs = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    model = masked_lm(num_hidden_layers=1, rotary_value=True, embedding_size=20).train(training)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=graphs)
    compare_compiled(model, compiled, (2, 9))
    # More than one where torch restarts a first compilation to make a float a constant.
    first = graphs.frame_count
    for sizes in ((3, 11), (5, 70)):
        compare_compiled(model, compiled, sizes)
    assert graphs.frame_count == first


def test_compiles_with_inductor() -> None:
    torch._dynamo.reset()
    model = masked_lm(num_hidden_layers=1)
    compare_compiled(model, torch.compile(model, fullgraph=True), (2, 9))


@pytest.mark.parametrize(
    ("fields", "parameters"), [(BASE, 124_099_664), (CHINESE_SMALL, 30_046_928)]
)
def test_number_of_parameters(fields: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        model = RoFormerForMaskedLM(RoFormerConfig(**fields))
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_v2_head_is_the_decoder_alone() -> None:
    model = masked_lm(norm_type="rms_norm", use_bias=False, hidden_act="relu")
    head = {name for name in model.state_dict() if name.startswith("cls")}
    assert head == {"cls.predictions.decoder.weight"}
    x = batch(61)["input_ids"]
    expected = F.linear(model.roformer(x)[0], model.get_input_embeddings().weight)
    torch.testing.assert_close(model(x).logits, expected)
    model(**batch(61)).loss.backward()
    model = masked_lm(norm_type="rms_norm", use_bias=False, embedding_size=20)
    head = {name for name in model.state_dict() if name.startswith("cls")}
    assert head == {
        "cls.predictions.decoder.weight",
        "cls.predictions.transform.dense.weight",
    }
    narrow = F.linear(model.roformer(x)[0], model.cls.predictions.transform.dense.weight)
    expected = F.linear(narrow, model.get_input_embeddings().weight)
    torch.testing.assert_close(model(x).logits, expected)


def test_tied_weights_stay_tied() -> None:
    model = masked_lm()
    words, decoder = model.get_input_embeddings(), model.get_output_embeddings()
    for changed in (model, model.double(), model.half(), model.requires_grad_(False)):
        assert decoder.weight is words.weight
        assert changed.cls.predictions.bias is decoder.bias
    assert "cls.predictions.decoder.weight" not in dict(model.named_parameters())


def test_gradient_checkpointing_reaches_the_encoder() -> None:
    model = masked_lm()
    model.gradient_checkpointing_enable()
    assert model.roformer.gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.roformer.gradient_checkpointing


def test_misfit_labels_are_refused() -> None:
    inputs = batch(61)
    inputs["labels"] = inputs["labels"][:, 1:]
    with pytest.raises(ValueError, match=r"labels must be \[B, S\] = \[3, 13\], got \[3, 12\]"):
        masked_lm()(**inputs)


def test_learns_a_batch_by_heart() -> None:
    torch.manual_seed(0)
    model, inputs = RoFormerForMaskedLM(small()), batch(61)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.1
