"""The causal head: parity in loss and gradients, packing, accumulation, kept logits.

The one idea: a loss does not depend on how its sequences are laid out, so every layout is held to
the sequences one by one, and those to transformers, whose decoder has to show first that it is
causal. What must stay true: no position ever learns from a token after it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import SMALL, batch, gradients, random_fields, randomise, same_gradients, small

from roformer_ext.causal_lm import RoFormerForCausalLM
from roformer_ext.config import RoFormerConfig

LENGTHS = (5, 1, 7, 3)


def causal_lm(**fields: Any) -> RoFormerForCausalLM:
    model = RoFormerForCausalLM(small(**{"is_decoder": True, **fields})).double().eval()
    randomise(model)
    return model


def causal_twins(fields: dict[str, Any], dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """(theirs, ours) of equal weights, in eval mode; theirs has shown that it is causal."""
    transformers = pytest.importorskip("transformers", reason="parity needs transformers")
    transformers.logging.set_verbosity_error()
    fields = {**SMALL, **fields}
    theirs = transformers.RoFormerForCausalLM(transformers.RoFormerConfig(**fields))
    table = theirs.roformer.encoder.embed_positions.weight
    kept = table.detach().clone()
    randomise(theirs, seed)
    table.requires_grad_(False).copy_(kept)
    ours = RoFormerForCausalLM(RoFormerConfig(**fields))
    ours.load_state_dict(theirs.state_dict())
    theirs, ours = theirs.to(dtype).eval(), ours.to(dtype).eval()
    if fields.get("is_decoder"):
        prove_causal(theirs)
    return theirs, ours


@torch.no_grad()
def prove_causal(model: nn.Module) -> None:
    tokens = torch.arange(3, 9)[None]
    changed = tokens.clone()
    changed[0, -1] = 2
    before, after = model(tokens).logits, model(changed).logits
    assert torch.equal(before[:, :-1], after[:, :-1]), "a reference for decoders must be causal"
    assert not torch.equal(before[:, -1], after[:, -1])


@pytest.mark.parametrize("is_decoder", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(2))
def test_equals_transformers(seed: int, dtype: torch.dtype, is_decoder: bool) -> None:
    fields = {**random_fields(seed), "is_decoder": is_decoder}
    theirs, ours = causal_twins(fields, dtype, seed)
    inputs = batch(fields["vocab_size"], seed=seed)
    expected = theirs(**inputs)
    expected.loss.backward()
    their_gradients = gradients(theirs)
    # Theirs computes a loss in float32, whatever the model.
    tolerance, loss_tolerance, relative = 1e-5, 1e-5, 1e-4
    if dtype == torch.float64:
        tolerance, loss_tolerance, relative = 1e-10, 1e-6, 1e-6
    for training, output_logits in ((False, None), (True, None), (True, True)):
        result = ours.train(training)(**inputs, output_logits=output_logits)
        torch.testing.assert_close(
            result.loss.double(), expected.loss.double(), rtol=loss_tolerance, atol=loss_tolerance
        )
        assert (result.logits is None) == (training and not output_logits)
        if result.logits is not None:
            torch.testing.assert_close(result.logits, expected.logits, rtol=0.0, atol=tolerance)
        result.loss.backward()
        same_gradients(gradients(ours), their_gradients, relative)
    shorter = {"num_items_in_batch": torch.tensor(7), **inputs}
    torch.testing.assert_close(
        ours(**shorter).loss.double(), theirs(**shorter).loss.double(), rtol=1e-5, atol=1e-5
    )


def sequences() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(1, 61, (length,), generator=generator) for length in LENGTHS]


def separate_losses(model: RoFormerForCausalLM) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over all predicted tokens, one sequence at a time, from the logits themselves."""
    losses = []
    for tokens in sequences():
        logits = model(tokens[None]).logits[0, :-1]
        losses.append(F.cross_entropy(logits, tokens[1:], reduction="sum"))
    loss = torch.stack(losses).sum() / sum(length - 1 for length in LENGTHS)
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", ["packed", "padded", "unpadded", "left"])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_every_layout_equals_the_sequences(layout: str, training: bool, dtype: torch.dtype) -> None:
    model = causal_lm()
    expected, their_gradients = separate_losses(model)
    if layout == "packed":
        tokens = torch.cat(sequences())[None].to(dtype)
        bounds = torch.tensor([0, *LENGTHS]).cumsum(0, dtype=torch.int32)
        result = model.train(training)(tokens, labels=tokens, cu_seqlens=bounds)
    else:
        side = "left" if layout == "left" else "right"
        pad = nn.utils.rnn.pad_sequence
        ids = pad(sequences(), batch_first=True, padding_side=side).to(dtype)
        mask, labels = ids != 0, ids.masked_fill(ids == 0, -100)
        if layout == "left":
            labels = labels.where(mask.cumsum(1) != 1, -100)  # padding predicts nothing
        unpad = {"padded": False, "unpadded": True}.get(layout)
        result = model.train(training)(ids, mask, labels=labels, unpad=unpad, use_cache=False)
    # Padding on the left moves positions, whose angles are rounded to float32.
    tolerance = 1e-6 if layout == "left" else 1e-10
    torch.testing.assert_close(result.loss.detach(), expected, rtol=tolerance, atol=tolerance)
    result.loss.backward()
    same_gradients(gradients(model), their_gradients, 10 * tolerance)


def test_a_label_that_padding_predicts_is_kept() -> None:
    # The first token of a left-padded row is predicted by the padding before it.
    theirs, ours = causal_twins({"is_decoder": True})
    ids = torch.arange(1, 13).view(2, 6)
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, :4] = 0
    expected = theirs(ids, mask, labels=ids).loss.double()
    torch.testing.assert_close(ours(ids, mask, labels=ids).loss, expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="unpad must not be True where a label stands on padding"):
        ours(ids, mask, labels=ids, unpad=True, use_cache=False)


def test_accumulated_micro_batches_equal_their_union() -> None:
    model = causal_lm().train()
    inputs = batch(61, (4, 9))
    labels = inputs["input_ids"].masked_fill(torch.rand(4, 9).lt(0.3), -100)
    labels[3] = -100
    total = int((labels[:, 1:] != -100).sum())
    model(inputs["input_ids"], labels=labels).loss.backward()
    expected = gradients(model)
    losses = []
    for rows in (slice(0, 1), slice(1, 3), slice(3, 4)):
        loss = model(
            inputs["input_ids"][rows], labels=labels[rows], num_items_in_batch=torch.tensor(total)
        ).loss
        loss.backward()
        losses.append(loss.item())
    same_gradients(gradients(model), expected, 1e-9)
    assert losses[2] == 0.0
    assert model(inputs["input_ids"][3:], labels=labels[3:]).loss.isnan()


def test_a_later_token_changes_nothing_before_it() -> None:
    prove_causal(causal_lm())
    with pytest.raises(AssertionError, match="must be causal"):
        prove_causal(causal_lm(is_decoder=False))


@pytest.mark.parametrize("unpad", [None, False])
def test_kept_logits_are_those_of_all(unpad: bool | None) -> None:
    theirs, ours = causal_twins({"is_decoder": True})
    ids, mask = torch.arange(1, 15).view(2, 7), torch.ones(2, 7, dtype=torch.long)
    mask[1, 2:] = 0
    each_row = torch.tensor([[0, 6, 3], [5, 1, 1]])
    chosen = torch.rand(2, 7) < 0.5
    asked = {"unpad": unpad, "use_cache": False}
    for which in (0, 1, 3, torch.tensor([4, 0]), torch.tensor([-1]), each_row, chosen):
        result = ours(ids, mask, logits_to_keep=which, **asked).logits
        expected = theirs(ids, mask, logits_to_keep=which).logits
        if unpad is None and not isinstance(which, Tensor) and which == 0:
            result, expected = result[mask.bool()], expected[mask.bool()]
        torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-10)


def test_kept_logits_and_labels_exclude_each_other() -> None:
    ids = torch.arange(1, 5)[None]
    with pytest.raises(ValueError, match="logits_to_keep and labels exclude each other, got both"):
        causal_lm()(ids, labels=ids, logits_to_keep=1)
    with pytest.raises(ValueError, match="logits_to_keep must not be negative, got -2"):
        causal_lm()(ids, logits_to_keep=-2)
    with pytest.raises(ValueError, match=r"labels must be \[B, S\] = \[1, 4\], got \[1, 3\]"):
        causal_lm()(ids, labels=ids[:, :3])
    with pytest.raises(ValueError, match=r"labels must be \[B, S\] = \[1, 4\], got \[4\]"):
        causal_lm()(ids, labels=ids[0])


def test_output_by_name_and_by_position() -> None:
    model, ids = causal_lm(), torch.arange(1, 9).view(2, 4)
    asked = {"output_attentions": True, "output_hidden_states": True, "use_cache": True}
    output = model(ids, labels=ids, **asked)
    assert output.past_key_values is output.cache and output.cache.get_seq_length() == 4
    assert len(output.attentions) == 2 and len(output.hidden_states) == 3
    first, second, *_ = model(ids, labels=ids, return_dict=False, **asked)
    assert torch.equal(first, output.loss) and torch.equal(second, output.logits)
    assert output.loss.dtype == torch.float64
    half = model.bfloat16()(ids, labels=ids)
    assert half.loss.dtype == torch.float32 and half.logits.dtype == torch.bfloat16
    assert abs(half.loss.item() - output.loss.item()) < 0.2
