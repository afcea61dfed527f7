"""Numbers that transformers computed, written down, so that parity needs no transformers.

The one idea: weights and inputs are sines of their index, which any machine draws alike; the loss
and the first outputs of each head are literals, to which ours is held everywhere and transformers
where it is installed. What must stay true: these numbers never change, whatever a release of either
side does.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from parity.cases import TASKS, reference, require_causal_reference
from torch import Tensor, nn
from twins import SMALL

import roformer_ext
from roformer_ext import RoFormerConfig, RoFormerModel
from roformer_ext.position_table import position_table

FIELDS = {**SMALL, "embedding_size": 20, "rotary_value": True}
# By task: the loss, and the first numbers of logits or states of row 1.
LITERALS: dict[str, tuple[float, tuple[float, ...]]] = {
    "model": (2.9165056504, (0.3695853887, -0.9606920303, 0.8748050644, 0.0721492661)),
    "decoder": (2.5967620670, (0.2590472504, -1.0404514568, 1.0323247899, 0.1043662383)),
    "masked words": (3.7595683630, (-0.0868937674, -0.3937489673, 0.8979204507, 0.1643178048)),
    "next words": (3.7510681152, (-0.0734186519, -0.4183645531, 0.9073028873, 0.1802210429)),
    "one class": (1.0673632774, (-0.3414948441, -0.2331731258, 0.5504391310)),
    "several classes": (0.7130265046, (-0.3414948441, -0.2331731258, 0.5504391310, 0.4361771362)),
    "tokens": (1.9213158828, (-0.1414138010, -0.7805841034, 0.7747446998, 0.6139454261)),
    "answers": (2.4703971331, (-0.7463809495, -0.5129864362, -0.7575332292, -0.7540513322)),
    "choices": (1.2011521300, (-0.2203093093, -0.4540931825, -0.3542474544)),
    "choices by their mean": (1.0913953337, (0.2785712665, 0.2826673948, 0.3086333541)),
}
CHAR: dict[str, Any] = {"vocab_size": 12000, "max_position_embeddings": 512}
V2 = {**CHAR, "norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"}
ENGLISH = {"vocab_size": 30522, "embedding_size": 128, "max_position_embeddings": 128}
# The encoders of published checkpoints: hidden size, layers and heads, other fields, parameters.
# Chinese base and small are counted in test_model.py.
PUBLISHED: dict[str, tuple[tuple[int, int, int], dict[str, Any], int]] = {
    "char base": ((768, 12, 12), CHAR, 94_273_536),
    "char small": ((384, 6, 6), CHAR, 15_256_320),
    "V2 char small": ((384, 6, 6), V2, 15_225_600),
    "V2 char base": ((768, 12, 12), V2, 94_152_192),
    "V2 char large": ((1024, 24, 16), V2, 314_279_936),
    "English discriminator": ((256, 12, 4), {**ENGLISH, "rotary_value": True}, 13_417_472),
    "English generator": ((64, 12, 1), ENGLISH, 4_515_392),
}


def fill(model: nn.Module) -> None:
    """Sines in place of weights, the same under the same checkpoint name."""
    state = model.state_dict()
    for name, tensor in state.items():
        if "embed_positions" in name or ".decoder." in name:
            continue
        steps = torch.arange(tensor.numel(), dtype=torch.float64).view_as(tensor)
        values = torch.sin(0.731 * steps + sum(name.encode())) / 4
        state[name] = (values + 1 if name.endswith("LayerNorm.weight") else values).to(tensor.dtype)
    words = "roformer.embeddings.word_embeddings.weight"
    if "cls.predictions.decoder.weight" in state:
        state["cls.predictions.decoder.weight"] = state[words]
        state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    model.load_state_dict(state)


def given(task: str) -> dict[str, Tensor]:
    """Two rows of twelve tokens, or of three choices of four; the end of row 1 is padding."""
    ids = (7 * torch.arange(24) % 60 + 1).view(2, 12)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids % 2}
    kind = TASKS[task].labels
    if kind == "choice":
        batch = {name: x.view(2, 3, 4) for name, x in batch.items()}
        # Every choice keeps a token.
        batch["attention_mask"][1, 2, 0] = 1
    every = {
        "words": {"labels": ids.where(ids % 3 == 0, -100)},
        "class": {"labels": torch.tensor([2, 0])},
        "numbers": {"labels": ids[:, :4].double() % 2},
        "token classes": {"labels": (ids % 5).where(mask == 1, -100)},
        "positions": {"start_positions": ids[:, 1] % 8, "end_positions": torch.tensor([11, 12])},
        "choice": {"labels": torch.tensor([1, 2])},
    }
    return batch | every.get(kind or "", {})


@torch.no_grad()
def computed(model: Any, task: str) -> tuple[float, list[float]]:
    """The loss, or without one the sum of the states of row 0; and the first numbers of row 1."""
    fill(model)
    output = model.double().eval()(**given(task))
    if TASKS[task].labels is None:
        states = output.last_hidden_state
        return states[0].sum().item(), states[1].flatten()[:4].tolist()
    return output[0].item(), output[1][1].flatten()[:4].tolist()


def check(model: Any, task: str) -> None:
    loss, first = computed(model, task)
    expected_loss, expected = LITERALS[task]
    # The literal of this one was computed in float32.
    assert loss == pytest.approx(expected_loss, abs=1e-6 if task == "next words" else 1e-9)
    assert first == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("task", LITERALS)
def test_ours_gives_the_literals(task: str) -> None:
    config = RoFormerConfig(**FIELDS, **TASKS[task].fields)
    check(getattr(roformer_ext, TASKS[task].head)(config), task)


@pytest.mark.parametrize("task", LITERALS)
def test_the_literals_are_those_of_transformers(task: str) -> None:
    fields = {**FIELDS, **TASKS[task].fields}
    model = reference(TASKS[task].head, fields)
    if fields.get("is_decoder"):
        require_causal_reference()
    check(model, task)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    (hidden, layers, heads), fields, parameters = PUBLISHED[name]
    with torch.device("meta"):
        encoder = RoFormerModel(
            RoFormerConfig(
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                intermediate_size=4 * hidden,
                **fields,
            )
        )
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters


def test_table_of_a_checkpoint() -> None:
    config = RoFormerConfig(**{**SMALL, "hidden_size": 18, "num_attention_heads": 3})
    table = position_table(config, config.max_position_embeddings)
    assert table.dtype == torch.float32 and table.shape == (64, 6)
    assert table[0].tolist() == [0, 0, 0, 1, 1, 1]
    expected = torch.tensor([0.8415, 0.0464, 0.0022, 0.5403, 0.9989, 1.0000])
    torch.testing.assert_close(table[1], expected, rtol=0.0, atol=5e-5)
