"""Generation: the same tokens as transformers, and beams that exhaustive search agrees with.

The one idea: two oracles. transformers' `generate` on equal weights fixes tokens, for sampling with
the same random state; and for models so small that every continuation can be listed, the list does.
What must stay true: with a cache every token goes through the model once.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from test_causal_lm import causal_lm, causal_twins
from torch import Tensor

from roformer_ext.causal_lm import RoFormerForCausalLM
from roformer_ext.decoding import GenerationSettings

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 2},
    "short": {"num_beams": 4, "length_penalty": -1.0, "early_stopping": True},
    "long": {"num_beams": 3, "length_penalty": 2.0, "early_stopping": "never"},
    "several": {"num_beams": 4, "length_penalty": 0.3, "num_return_sequences": 3},
    "sampled": {"do_sample": True},
    "warped": {"do_sample": True, "temperature": 1.7, "top_k": 9, "top_p": 0.8},
    "unwarped": {"do_sample": True, "top_k": 0, "num_return_sequences": 2},
    "sampled beams": {"do_sample": True, "num_beams": 3, "top_p": 0.9, "temperature": 0.7},
}
ENDS: dict[str, dict[str, Any]] = {
    "no end": {},
    "one end": {"eos_token_id": 5, "pad_token_id": 3},
    "ends": {"eos_token_id": [5, 9, 17, 30, 31, 32]},
    "late": {"eos_token_id": list(range(3, 30)), "min_new_tokens": 4},
    "novel": {"eos_token_id": [7, 8], "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
}


def prompts(padded: bool) -> tuple[Tensor, Tensor | None]:
    ids = torch.randint(1, 61, (3, 6), generator=torch.Generator().manual_seed(8))
    if not padded:
        return ids, None
    mask = torch.ones_like(ids)
    mask[1, :3], mask[2, :1] = 0, 0
    return ids * mask, mask


def both(theirs: Any, ours: Any, ids: Tensor, mask: Tensor | None, **settings: Any) -> Tensor:
    """What both generate from the same random state."""
    results = []
    for model in (theirs, ours):
        torch.manual_seed(11)
        results.append(model.generate(ids, attention_mask=mask, **settings))
    assert torch.equal(*results), settings
    assert results[1].dtype == torch.int64
    return results[1]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("search", SEARCHES)
def test_equals_transformers(search: str, end: str, padded: bool) -> None:
    theirs, ours = causal_twins({"is_decoder": True}, torch.float32, seed=len(search))
    settings = {"max_new_tokens": 10, **SEARCHES[search], **ENDS[end]}
    both(theirs, ours, *prompts(padded), **settings)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("search", SEARCHES)
def test_equals_transformers_on_more_models(search: str, end: str, seed: int) -> None:
    fields = {"is_decoder": True, "rotary_value": seed % 2 == 1, "vocab_size": 61 + 10 * seed}
    theirs, ours = causal_twins(fields, torch.float32, seed)
    for padded, use_cache in itertools.product((False, True), repeat=2):
        settings = {"max_new_tokens": 16, **SEARCHES[search], **ENDS[end], "use_cache": use_cache}
        both(theirs, ours, *prompts(padded), **settings)


@pytest.mark.parametrize("search", SEARCHES)
def test_cross_attention_and_no_cache(search: str) -> None:
    theirs, ours = causal_twins({"is_decoder": True, "add_cross_attention": True}, torch.float32)
    encoder = {
        "encoder_hidden_states": torch.randn(3, 5, 32),
        "encoder_attention_mask": torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1] * 5]),
    }
    settings = {"max_new_tokens": 6, "eos_token_id": [5, 9, 17], **SEARCHES[search], **encoder}
    # transformers mixes both kinds of keys in one cache here, and stops; without, it is right.
    expected = both(theirs, ours, *prompts(True), use_cache=False, **settings)
    torch.manual_seed(11)
    assert torch.equal(ours.generate(*prompts(True), **settings), expected)


def test_lengths_types_and_padding_by_default() -> None:
    theirs, ours = causal_twins({"is_decoder": True}, torch.float32)
    ids, _ = prompts(False)
    assert both(theirs, ours, ids, None).shape == (3, 26)
    types = torch.randint(0, 2, ids.shape)
    for settings in ({"max_length": 11}, {"max_length": 9, "max_new_tokens": 2}, {"num_beams": 2}):
        both(theirs, ours, ids, None, token_type_ids=types, **settings)
    assert both(theirs, ours, ids[:, :1].expand(-1, 50), None).shape == (3, 64)
    assert ours.generate(ids[:, :1].expand(-1, 64)).shape == (3, 84)
    padded, mask = prompts(True)
    result = both(theirs, ours, padded, None)
    assert torch.equal(result, ours.generate(padded, mask))
    both(theirs, ours, padded, None, eos_token_id=0)
    assert torch.equal(ours.generate(ids.int()), ours.generate(ids))


def test_the_configuration_says_where_to_end() -> None:
    fields: dict[str, Any] = {"is_decoder": True, "pad_token_id": 1}
    free = causal_twins(fields, torch.float32)[1].generate(*prompts(False))
    assert free.shape[1] == 26
    # The second new token of row 0 and the fourth of the others.
    ends = [int(free[0, 7]), *free[1:, 9].tolist()]
    theirs, ours = causal_twins({**fields, "eos_token_id": ends}, torch.float32)
    result = both(theirs, ours, *prompts(False))
    assert 8 < result.shape[1] <= 10 and (result[0, 8:] == 1).all()
    assert ours.generate(*prompts(False), eos_token_id=[]).shape[1] == 26


def every_continuation(
    model: RoFormerForCausalLM, prompt: Tensor, new: int, ends: list[int], penalty: float
) -> list[tuple[float, tuple[int, ...]]]:
    """All that end, or are `new` long, best first, with the score that beams compare."""
    vocab = model.config.vocab_size
    texts = torch.tensor(list(itertools.product(range(vocab), repeat=new)))
    whole = torch.cat([prompt.expand(len(texts), -1), texts], 1)
    with torch.no_grad():
        logits = model(whole, use_cache=False).logits[:, prompt.shape[1] - 1 : -1]
    steps = logits.log_softmax(-1).gather(2, texts[:, :, None]).squeeze(2).cumsum(1)
    found = {}
    for text, scores in zip(texts.tolist(), steps.tolist()):
        length = next((i for i, token in enumerate(text, 1) if token in ends), new)
        found[tuple(text[:length])] = scores[length - 1] / length**penalty
    return sorted(((score, text) for text, score in found.items()), reverse=True)


@pytest.mark.parametrize("penalty", [-0.5, 0.0, 1.0, 2.5])
@pytest.mark.parametrize("ends", [[], [1], [1, 3]])
def test_beams_that_hold_everything_find_the_best(ends: list[int], penalty: float) -> None:
    model = causal_lm(vocab_size=5)
    prompt = torch.tensor([[2, 4], [0, 3]])
    expected = [every_continuation(model, row[None], 3, ends, penalty)[:4] for row in prompt]
    result = model.generate(
        prompt,
        torch.ones(2, 2),
        max_new_tokens=3,
        num_beams=80,
        num_return_sequences=4,
        eos_token_id=ends,
        pad_token_id=4,
        length_penalty=penalty,
        early_stopping="never",
    ).unflatten(0, (2, 4))
    for rows, best in zip(result, expected):
        for row, (_, text) in zip(rows, best):
            assert tuple(row[2 : 2 + len(text)].tolist()) == text


def test_samples_follow_the_distribution() -> None:
    model, count = causal_lm(vocab_size=6), 6000
    prompt = torch.tensor([[2, 4, 1]])
    with torch.no_grad():
        scores = model(prompt).logits[0, -1] / 1.5
    for settings, cut in (({"top_k": 0}, 6), ({"top_k": 3}, 3)):
        best = scores.topk(cut)
        expected = torch.zeros(6, dtype=torch.double)
        expected[best.indices] = best.values.softmax(-1)
        result = model.generate(
            prompt,
            torch.ones(1, 3),
            max_new_tokens=1,
            do_sample=True,
            temperature=1.5,
            num_return_sequences=count,
            generator=torch.Generator().manual_seed(5),
            **settings,
        )
        seen = result[:, 3].bincount(minlength=6) / count
        deviation = (expected * (1 - expected) / count).sqrt()
        assert ((seen - expected).abs() <= 4 * deviation + 1e-12).all()


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("beams", [1, 3])
def test_a_token_goes_through_the_model_once(beams: int, use_cache: bool) -> None:
    model, sizes = causal_lm(), []
    model.roformer.embeddings.register_forward_hook(lambda *call: sizes.append(call[2].shape[:2]))
    model.generate(prompts(False)[0], max_new_tokens=5, num_beams=beams, use_cache=use_cache)
    rows = 3 * beams
    later = [(rows, 1)] * 4 if use_cache else [(rows, length) for length in range(7, 11)]
    assert sizes == [(3, 6), *later]


def test_a_row_does_not_depend_on_the_others() -> None:
    model = causal_lm()
    ids, mask = prompts(True)
    ends = {"eos_token_id": [5, 9, 17, 30, 31, 32, 33, 34, 35], "max_new_tokens": 20}
    for settings in ({}, {"num_beams": 3}):
        together = model.generate(ids, mask, **settings, **ends)
        for row, tokens, kept in zip(together, ids, mask):
            alone = model.generate(tokens[None], kept[None], **settings, **ends)[0]
            assert torch.equal(row[: len(alone)], alone)


def test_nothing_is_left_behind() -> None:
    model, ids = causal_lm().train(), prompts(False)[0]
    before = ids.clone()
    result = model.generate(ids, max_new_tokens=2)
    assert torch.equal(ids, before) and not result.requires_grad and model.training
    assert torch.equal(result[:, :6], before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"num_beams": 0}, "num_beams must be at least 1, got 0"),
        ({"max_length": 6}, "max_length must be above the 6 tokens of the prompt, got 6"),
        ({"min_new_tokens": -1}, "min_new_tokens must not be negative, got -1"),
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"repetition_penalty": math.nan}, "repetition_penalty must be positive, got nan"),
        ({"top_p": 1.5}, "top_p must be between 0 and 1, got 1.5"),
        ({"top_k": -1}, "top_k must not be negative, got -1"),
        ({"early_stopping": "soon"}, "early_stopping must be True, False or 'never', got 'soon'"),
        ({"num_return_sequences": 2}, "num_return_sequences must be at most 1, .* got 2"),
        ({"num_return_sequences": 4, "num_beams": 3}, "num_return_sequences must be at most 3"),
        ({"num_beams": 2, "eos_token_id": list(range(61))}, "vocabulary of at least 62 .* got 61"),
        ({"attention_mask": torch.ones(3, 5)}, r"attention_mask must be \[B, P\] = \[3, 6\]"),
        ({"token_type_ids": torch.ones(6)}, r"token_type_ids must be \[B, P\] = \[3, 6\], got \[6"),
    ],
)
def test_misfits_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        causal_lm().generate(prompts(False)[0], **settings)


def test_other_misfits_are_refused() -> None:
    ids, _ = prompts(False)
    with pytest.raises(ValueError, match="needs a configuration with is_decoder, got is_decoder ="):
        causal_lm(is_decoder=False).generate(ids)
    for wrong in (ids[0], ids[:, :0], ids.float()):
        with pytest.raises(ValueError, match=r"input_ids must be int32 or int64 \[B, P\]"):
            causal_lm().generate(wrong)
    with pytest.raises(TypeError, match="max_tokens"):
        causal_lm().generate(ids, max_tokens=3)
    assert GenerationSettings(eos_token_id=3).ends == [3]
