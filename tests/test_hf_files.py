"""The adapter's files: to and from transformers' RoFormer, and what a checkpoint may not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_twins import HEADS, hf, inputs, pair, theirs, transformers
from torch import Tensor
from twins import SMALL

from roformer_ext import RotaryEmbedding

load_file = pytest.importorskip("safetensors.torch").load_file
save_file = pytest.importorskip("safetensors.torch").save_file

QUERY = "roformer.encoder.layer.0.attention.self.query.weight"
TABLE = "roformer.encoder.embed_positions.weight"
WORDS = "roformer.embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"


def loaded(model: Any, directory: Path, **options: Any) -> Any:
    """The model, after a look at what was missing or left over."""
    result, report = model.from_pretrained(directory, output_loading_info=True, **options)
    assert not any(report.values()), report
    assert not result.training
    return result


def results(model: Any, head: str) -> list[Tensor]:
    batch = inputs(head)
    if not head.endswith("MultipleChoice"):
        del batch["attention_mask"]  # what stands on padding is not compared here
    with torch.no_grad():
        values = model(**batch).to_tuple()
    return [value for value in values if isinstance(value, Tensor)]


def same(one: Any, other: Any, head: str = "RoFormerForMaskedLM") -> None:
    """Equal results, and every tensor equal by name."""
    for got, expected in zip(results(one, head), results(other, head), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    mine, others = one.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    for name in mine.keys() - {"cls.predictions.bias"}:
        assert torch.equal(mine[name], others[name]), name


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("shard", ["5GB", "20KB"])
def test_files_go_both_ways(head: str, shard: str, tmp_path: Path) -> None:
    reference = theirs(head, embedding_size=20, num_labels=2)
    reference.save_pretrained(tmp_path / "theirs", max_shard_size=shard)
    ours = loaded(getattr(hf, head), tmp_path / "theirs")
    same(ours, reference, head)
    ours.save_pretrained(tmp_path / "ours", max_shard_size=shard)
    assert ((tmp_path / "ours/model.safetensors.index.json").exists()) is (shard == "20KB")
    same(loaded(getattr(hf, head), tmp_path / "ours"), ours, head)
    same(loaded(getattr(transformers, head), tmp_path / "ours"), reference, head)


def test_auto_classes_know_our_type(tmp_path: Path) -> None:
    autos = {
        "AutoModel": "RoFormerModel",
        "AutoModelForPreTraining": "RoFormerForMaskedLM",
        "AutoModelForMaskedLM": "RoFormerForMaskedLM",
        "AutoModelForCausalLM": "RoFormerForCausalLM",
        "AutoModelForSequenceClassification": "RoFormerForSequenceClassification",
        "AutoModelForTokenClassification": "RoFormerForTokenClassification",
        "AutoModelForQuestionAnswering": "RoFormerForQuestionAnswering",
        "AutoModelForMultipleChoice": "RoFormerForMultipleChoice",
    }
    _, ours = pair()
    ours.save_pretrained(tmp_path)
    for auto, name in autos.items():
        model = getattr(transformers, auto).from_pretrained(tmp_path)
        assert type(model) is getattr(hf, name)
    reference = theirs()
    reference.save_pretrained(tmp_path / "theirs")
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "theirs")
    assert type(model) is transformers.RoFormerForMaskedLM


def test_what_transformers_cannot_say_comes_back(tmp_path: Path) -> None:
    fields = {"norm_type": "rms_norm", "use_bias": False, "hidden_act": "relu"}
    torch.manual_seed(0)
    model = hf.RoFormerForMaskedLM(hf.RoFormerConfig(**SMALL, **fields)).eval()
    assert not any(name.endswith("bias") for name in model.state_dict())
    model.save_pretrained(tmp_path)
    same(loaded(hf.RoFormerForMaskedLM, tmp_path), model)
    pooled = hf.RoFormerModel(hf.RoFormerConfig(**SMALL, pooler_activation="linear")).eval()
    pooled.save_pretrained(tmp_path / "pooled")
    again = loaded(transformers.AutoModel, tmp_path / "pooled")
    ids = inputs()["input_ids"]
    assert torch.equal(again(ids).pooler_output, pooled(ids).pooler_output)


def test_another_head_starts_anew(tmp_path: Path) -> None:
    reference = theirs()
    reference.save_pretrained(tmp_path)
    model, report = hf.RoFormerForSequenceClassification.from_pretrained(
        tmp_path, num_labels=3, output_loading_info=True
    )
    assert {name.split(".")[0] for name in report["missing_keys"]} == {"classifier"}
    assert {name.split(".")[0] for name in report["unexpected_keys"]} == {"cls"}
    assert model.classifier.out_proj.bias.abs().max() == 0
    assert 0.01 < model.classifier.dense.weight.std() < 0.03
    hidden = model.roformer(inputs()["input_ids"]).last_hidden_state
    expected = reference.roformer(inputs()["input_ids"]).last_hidden_state
    torch.testing.assert_close(hidden, expected, rtol=0.0, atol=1e-5)
    # The row of the pad token was not drawn again, as in a new model.
    assert torch.equal(model.get_input_embeddings().weight, reference.get_input_embeddings().weight)
    bare = hf.RoFormerModel.from_pretrained(tmp_path)
    bare.save_pretrained(tmp_path / "bare")
    headed, report = hf.RoFormerForMaskedLM.from_pretrained(
        tmp_path / "bare", output_loading_info=True
    )
    assert all(name.startswith("cls.") for name in report["missing_keys"])
    assert torch.equal(headed.roformer(inputs()["input_ids"]).last_hidden_state, hidden)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_that_of_the_file_or_the_one_asked_for(dtype: torch.dtype, tmp_path: Path) -> None:
    reference = theirs()
    reference.save_pretrained(tmp_path)
    model = loaded(hf.RoFormerForMaskedLM, tmp_path, dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    model.save_pretrained(tmp_path / "again")
    again = loaded(transformers.AutoModelForMaskedLM, tmp_path / "again")
    assert again.dtype == dtype
    same(again, model)


def test_untied_weights_stay_apart(tmp_path: Path) -> None:
    reference, ours = pair(tie_word_embeddings=False)
    same(ours, reference)
    reference.save_pretrained(tmp_path / "theirs")
    same(loaded(hf.RoFormerForMaskedLM, tmp_path / "theirs"), reference)
    ours.save_pretrained(tmp_path / "ours")
    again = loaded(hf.RoFormerForMaskedLM, tmp_path / "ours")
    same(again, reference)
    assert again.cls.predictions.bias is again.cls.predictions.decoder.bias
    assert again.cls.predictions.decoder.weight is not again.get_input_embeddings().weight
    # Of the bias that nothing reads, transformers says that it is missing.
    same(transformers.RoFormerForMaskedLM.from_pretrained(tmp_path / "ours"), reference)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Any]:
    """Loads a checkpoint after some of its tensors have been replaced, or taken out with None."""
    theirs().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)

    def load(**others: Tensor | None) -> Any:
        named = {QUERY: "query", TABLE: "table", WORDS: "words", DECODER: "decoder"}
        kept = dict(tensors)
        for name, short in named.items():
            if short in others:
                kept[name] = others[short]
        kept = {name: x.contiguous() for name, x in kept.items() if x is not None}
        save_file(kept, file, metadata={"format": "pt"})
        return hf.RoFormerForMaskedLM.from_pretrained(tmp_path)

    load.tensors = tensors
    return load


def test_a_checkpoint_that_does_not_fit_is_refused_by_name(changed: Any) -> None:
    with pytest.raises(ValueError, match=r"layer\.0\.attention\.self\.query\.weight .* got none"):
        changed(query=None)
    with pytest.raises(ValueError, match=r"query\.weight must have shape \[32, 32\], got \[32, 31"):
        changed(query=torch.zeros(32, 31))
    with pytest.raises(ValueError, match=r"embed_positions\.weight must be"):
        changed(table=torch.zeros(64, 8))
    with pytest.raises(ValueError, match=r"embed_positions\.weight must have shape"):
        changed(table=torch.zeros(64, 6))
    with pytest.raises(ValueError, match=r"decoder\.weight must equal"):
        changed(decoder=torch.zeros(61, 32))
    with pytest.raises(RuntimeError):
        changed(words=torch.zeros(60, 32))
    changed()


def test_a_table_of_positions_may_have_any_length_or_be_missing(changed: Any) -> None:
    own = changed.tensors[TABLE]
    cos, sin = RotaryEmbedding(8).tables(100)
    for rows in (3, 64, 100):
        table = torch.cat([sin[:rows], cos[:rows]], 1).half()
        model = changed(table=table)
        assert torch.equal(model.roformer.encoder.embed_positions.weight, own)
    assert torch.equal(changed(table=None).roformer.encoder.embed_positions.weight, own)


def test_one_name_of_a_tied_pair_is_enough(changed: Any) -> None:
    words = changed.tensors[WORDS]
    for options in (
        {"words": words},
        {"words": None, "decoder": words},
        {"words": words, "decoder": words.clone()},
    ):
        model = changed(**options)
        assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
        assert torch.equal(model.get_input_embeddings().weight, words)


def test_a_half_written_file_is_refused(changed: Any, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"(?i)incomplete|invalid|truncat"):
        hf.RoFormerForMaskedLM.from_pretrained(tmp_path)
