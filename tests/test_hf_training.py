"""The adapter in transformers' training: Trainer, collators, packed rows, then pipelines."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_twins import hf, inputs, pair, tokenizer, transformers
from torch import Tensor
from twins import SMALL

pytest.importorskip("accelerate", reason="Trainer needs accelerate")


def texts(count: int = 16, seed: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 12, (count,), generator=generator).tolist()
    return [
        " ".join(f"w{i}" for i in torch.randint(56, (n,), generator=generator).tolist())
        for n in lengths
    ]


class Fixed:
    """Masked-LM batches without chance: about a fifth of the tokens, more in some rows."""

    def __init__(self, tokens: Any) -> None:
        self.tokens = tokens

    def __call__(self, rows: list[Any]) -> dict[str, Tensor]:
        batch = self.tokens.pad(rows, return_tensors="pt")
        ids = batch["input_ids"]
        labelled = (ids * 7 + torch.arange(ids.shape[1])) % 5 == 0
        batch["labels"] = torch.where(labelled & (batch["attention_mask"] > 0), ids, -100)
        return batch


def trainer(model: Any, directory: Path, rows: Any, collator: Any, **options: Any) -> Any:
    settings = {
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "optim": "sgd",
        "learning_rate": 0.5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "num_train_epochs": 1,
        **options,
    }
    arguments = transformers.TrainingArguments(directory, **settings)
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, eval_dataset=rows, data_collator=collator
    )


@pytest.mark.parametrize("head", ["RoFormerForMaskedLM", "RoFormerForCausalLM"])
def test_gradient_accumulation_is_one_large_batch(head: str, tmp_path: Path) -> None:
    tokens = tokenizer()
    rows = [tokens(text) for text in texts(8)]
    torch.manual_seed(0)
    start = getattr(hf, head)(hf.RoFormerConfig(**SMALL, is_decoder=head.endswith("CausalLM")))
    trained = []
    for size, steps, checkpointing in ((8, 1, False), (2, 4, False), (2, 4, True)):
        model = copy.deepcopy(start)
        options = {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": steps,
            "gradient_checkpointing": checkpointing,
        }
        run = trainer(model, tmp_path, rows, Fixed(tokens), **options)
        run.train()
        trained.append(model)
    for name, parameter in trained[0].named_parameters():
        for other in trained[1:]:
            torch.testing.assert_close(other.get_parameter(name), parameter, rtol=0.0, atol=1e-6)
    moved = start.get_input_embeddings().weight - trained[0].get_input_embeddings().weight
    assert moved.abs().max() > 1e-3


class Classes(Fixed):
    """Batches with three numbers to a row, some of them unknown."""

    def __call__(self, rows: list[Any]) -> dict[str, Tensor]:
        batch = self.tokens.pad(rows, return_tensors="pt")
        known = batch["input_ids"][:, 1:4] % 2
        batch["labels"] = torch.where(batch["input_ids"][:, 1:4] % 5 == 0, -100.0, known.float())
        return batch


@pytest.mark.parametrize("steps", [1, 4])
def test_classification_trains_alike_in_pieces(steps: int, tmp_path: Path) -> None:
    tokens = tokenizer()
    rows = [tokens(text) for text in texts(8)]
    torch.manual_seed(0)
    config = hf.RoFormerConfig(**SMALL, num_labels=3, problem_type="multi_label_classification")
    model = hf.RoFormerForSequenceClassification(config)
    expected = copy.deepcopy(model)
    expected(**Classes(tokens)(rows)).loss.backward()
    options = {
        "per_device_train_batch_size": 8 // steps,
        "gradient_accumulation_steps": steps,
    }
    trainer(model, tmp_path, rows, Classes(tokens), **options).train()
    for name, parameter in expected.named_parameters():
        wanted = parameter - 0.5 * (0.0 if parameter.grad is None else parameter.grad)
        torch.testing.assert_close(model.get_parameter(name), wanted, rtol=0.0, atol=1e-6)


def test_checkpoints_resume_and_load(tmp_path: Path) -> None:
    tokens = tokenizer()
    rows = [tokens(text) for text in texts()]
    torch.manual_seed(0)
    start = hf.RoFormerForMaskedLM(hf.RoFormerConfig(**SMALL))
    options = {"per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 2}
    whole, resumed = copy.deepcopy(start), copy.deepcopy(start)
    trainer(whole, tmp_path, rows, Fixed(tokens), **options).train()
    again = trainer(resumed, tmp_path, rows, Fixed(tokens), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(resumed.get_parameter(name), parameter)
    loaded = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "checkpoint-4")
    assert torch.equal(loaded.get_input_embeddings().weight, whole.get_input_embeddings().weight)
    scores = again.predict(rows)
    assert scores.predictions.shape == (16, 13, 61)
    assert scores.metrics["test_loss"] == pytest.approx(again.evaluate()["eval_loss"])


def test_masking_collator_and_pipelines(tmp_path: Path) -> None:
    tokens = tokenizer()
    rows = [tokens(text) for text in texts()]
    torch.manual_seed(0)
    model = hf.RoFormerForMaskedLM(hf.RoFormerConfig(**SMALL))
    collator = transformers.DataCollatorForLanguageModeling(tokens, mlm_probability=0.3)
    run = trainer(model, tmp_path, rows, collator, max_steps=2, bf16=True)
    assert 3.0 < run.train().training_loss < 5.0
    _, model = pair()
    model.save_pretrained(tmp_path / "model")
    tokens.save_pretrained(tmp_path / "model")
    fill = transformers.pipeline("fill-mask", model=str(tmp_path / "model"))
    assert type(fill.model) is hf.RoFormerForMaskedLM
    found = fill("w1 w2 [MASK] w4", top_k=3)
    logits = model(**tokens("w1 w2 [MASK] w4", return_tensors="pt")).logits[0, 3]
    best = logits.softmax(-1).topk(3)
    assert [one["token"] for one in found] == best.indices.tolist()
    assert [one["score"] for one in found] == pytest.approx(best.values.tolist())
    for task in ("text-classification", "token-classification", "feature-extraction"):
        transformers.pipeline(task, model=str(tmp_path / "model"))("w1 w2")


COLLATORS: list[dict[str, Any]] = [
    {},
    {"position_ids_start": 2},
    {"return_flash_attn_kwargs": True},
    {"return_flash_attn_kwargs": True, "return_position_ids": False},
    {"return_seq_idx": True, "return_position_ids": False},
]


@pytest.mark.parametrize("options", COLLATORS)
@pytest.mark.parametrize("head", ["RoFormerForMaskedLM", "RoFormerForCausalLM"])
def test_flattened_rows_are_separate(head: str, options: dict[str, Any]) -> None:
    known = inspect.signature(transformers.DataCollatorWithFlattening).parameters
    if options.keys() - known:
        pytest.skip(f"this transformers has no {', '.join(options.keys() - known)}")
    _, model = pair(head, is_decoder=head.endswith("CausalLM"))
    tokens = tokenizer()
    # One of a single token begins and ends at once.
    rows = [tokens(text) for text in texts(4)] + [{"input_ids": [7]}, {"input_ids": [8, 9]}]
    batch = transformers.DataCollatorWithFlattening(**options)(rows)
    result = model(**batch)
    apart = [model(torch.tensor([row["input_ids"]])).logits for row in rows]
    torch.testing.assert_close(result.logits, torch.cat(apart, 1), rtol=0.0, atol=1e-5)
    if not options:
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(**batch).logits, result.logits, rtol=0.0, atol=1e-5)
        torch._dynamo.reset()


def test_positions_that_do_not_restart_separate_nothing() -> None:
    _, model = pair()
    ids = inputs()["input_ids"][:1]
    positions = torch.tensor([[0, 1, 2, 5, 6, 7, 20, 21, 22]])
    result = model(ids, position_ids=positions)
    by_mask = model(ids, torch.ones_like(ids), position_ids=positions)
    torch.testing.assert_close(result.logits, by_mask.logits, rtol=0.0, atol=1e-5)
    restarting = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 5]])
    masked = model(ids, torch.ones_like(ids), position_ids=restarting)
    assert (masked.logits - model(ids, position_ids=restarting).logits).abs().max() > 0.1


def test_packed_sequences_have_a_class_each() -> None:
    _, model = pair("RoFormerForSequenceClassification")
    ids = torch.arange(5, 12)[None]
    result = model(ids, position_ids=torch.tensor([[0, 1, 2, 0, 1, 0, 1]])).logits
    apart = [model(ids[:, a:b]).logits for a, b in ((0, 3), (3, 5), (5, 7))]
    torch.testing.assert_close(result, torch.cat(apart), rtol=0.0, atol=1e-5)
