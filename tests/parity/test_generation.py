"""Generation and the cache on every architecture, token for token those of transformers.

The one idea: equal weights and the same random state leave no freedom to greedy search, sampling
and beams, and a cache holds nothing but what the tokens before have left, so that its keys and
values are compared as well. What must stay true: rotated values, odd widths and untied decoders
reach the cache as they reach the hidden states; float64 keeps near ties apart.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity.cases import ARCHITECTURES, fields_of, inputs, pair
from torch import Tensor

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"do_sample": True, "temperature": 1.3, "top_k": 20, "top_p": 0.9},
    "beams": {"num_beams": 3, "length_penalty": 1.5, "early_stopping": True},
}
# Theirs wants lengths that its chunks divide, and a step has any length.
STEPWISE = [name for name in ARCHITECTURES if name != "in chunks"]
STEPS = ((0, 4), (4, 5), (5, 9), (9, 12))


def generated(model: Any, search: str, prompt: Tensor, mask: Tensor, **rest: Any) -> Tensor:
    torch.manual_seed(len(search))
    settings = {"max_new_tokens": 8, "eos_token_id": [3, 11, 40], **SEARCHES[search], **rest}
    result: Tensor = model.generate(prompt, attention_mask=mask, **settings)
    return result


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("architecture", STEPWISE)
def test_tokens(architecture: str, search: str) -> None:
    fields = fields_of(architecture, "next words")
    theirs, ours = pair("next words", fields)
    prompt = inputs("next words", fields)["input_ids"][:, :6].clamp(min=1)
    mask = torch.ones_like(prompt)
    mask[1, :2] = 0
    expected = generated(theirs, search, prompt, mask)
    assert torch.equal(generated(ours, search, prompt, mask), expected)
    assert expected.shape[1] > 8
    whole = generated(ours, search, prompt, mask, use_cache=False)
    assert torch.equal(whole, expected)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("architecture", ["rotated values", "odd sizes", "width 6"])
def test_tokens_of_a_source(architecture: str, search: str) -> None:
    task = "next words of a source"
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    given = inputs(task, fields)
    prompt, mask = given["input_ids"][:, :5].clamp(min=1), torch.ones(3, 5, dtype=torch.long)
    source = {name: given[name] for name in given if name.startswith("encoder")}
    # Theirs cannot keep the keys of a source in the cache that it builds for generation.
    expected = generated(theirs, search, prompt, mask, use_cache=False, **source)
    assert torch.equal(generated(ours, search, prompt, mask, **source), expected)
    other = {**source, "encoder_hidden_states": -source["encoder_hidden_states"]}
    assert not torch.equal(generated(ours, search, prompt, mask, **other), expected)


@torch.no_grad()
@pytest.mark.parametrize("task", ["next words", "next words of a source"])
@pytest.mark.parametrize("architecture", STEPWISE)
def test_steps_and_what_they_leave_in_the_cache(architecture: str, task: str) -> None:
    fields = fields_of(architecture, task)
    theirs, ours = pair(task, fields)
    given = inputs(task, fields)
    ids, types = given["input_ids"], given["token_type_ids"]
    source = {name: given[name] for name in given if name.startswith("encoder")}
    caches: list[Any] = [None, None]
    for start, end in STEPS:
        logits = []
        for index, model in enumerate((theirs, ours)):
            output = model(
                ids[:, start:end],
                token_type_ids=types[:, start:end],
                past_key_values=caches[index],
                use_cache=True,
                **source,
            )
            caches[index] = output.past_key_values
            logits.append(output.logits)
        torch.testing.assert_close(logits[1], logits[0], rtol=0.0, atol=1e-10)
        assert caches[0].get_seq_length() == caches[1].get_seq_length() == end
    known = caches[0].self_attention_cache if source else caches[0]
    assert len(caches[1]) == len(known.layers)
    for index, layer in enumerate(known.layers):
        nothing = layer.keys[:, :, :0], layer.values[:, :, :0]
        held = caches[1].update(*nothing, index)
        for result, expected in zip(held, (layer.keys, layer.values)):
            torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-10)
