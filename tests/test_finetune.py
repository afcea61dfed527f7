"""The fine-tuning script, a few steps on examples of its own: what it leaves, and how it resumes.

Nothing here judges how well a model does but one test, where the answer stands in the text. A
training that was stopped and taken up again must end with the very bits of the uninterrupted one,
and a setting that cannot be used must be one sentence.
"""

from __future__ import annotations

import csv
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from scripts_path import help_of, importable

from roformer_ext import (
    RoFormerForQuestionAnswering,
    RoFormerForSequenceClassification,
    RoFormerTokenizer,
)

WORDS = ("the", "rotary", "model", "turns", "each", "query", "and", "key", "by", "its", "angle")
TRAIN, DEV = 24, 8


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    pytest.importorskip("tqdm")
    pytest.importorskip("matplotlib")
    pytest.importorskip("tokenizers")
    with importable():
        import finetune

        yield finetune


def write(path: Path, rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def sentence(chosen: random.Random, words: int = 6) -> str:
    return " ".join(chosen.choices(WORDS, k=words))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs without a header, with the number of shared words, a half added."""
    chosen = random.Random(0)
    rows: list[tuple[Any, ...]] = []
    for _ in range(TRAIN + DEV):
        first, second = sentence(chosen), sentence(chosen)
        rows.append((first, second, len(set(first.split()) & set(second.split())) + 0.5))
    folder = tmp_path_factory.mktemp("pairs")
    write(folder / "dev.csv", rows[TRAIN:])
    return write(folder / "train.csv", rows[:TRAIN])


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Single texts with a header; the label is whether "query" is in it."""
    chosen = random.Random(1)
    texts = [sentence(chosen) for _ in range(200)]
    rows = [("label", "text"), *(("asks" if "query" in text else "tells", text) for text in texts)]
    return write(tmp_path_factory.mktemp("reviews") / "train.csv", rows)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = random.Random(2)
    rows: list[tuple[Any, ...]] = [("question", "context", "answer")]
    for place in range(16):
        words = sentence(chosen, 40).split()
        words[20 + place] = f"word{place}"
        rows.append(("which word?", " ".join(words), f"word{place}"))
    return write(tmp_path_factory.mktemp("questions") / "train.csv", rows)


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    few = ["--epochs", "2", "--batch", "8", "--device", "cpu", "--vocab-size", "120"]
    return ["--data", str(data), "--out", str(out), *few, *more]


def with_dev(pairs: Path, out: Path, *more: str) -> list[str]:
    return arguments(pairs, out, "--dev", str(pairs.parent / "dev.csv"), *more)


@pytest.fixture(scope="module")
def finished(script: ModuleType, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training."""
    out = tmp_path_factory.mktemp("finished")
    assert script.main(with_dev(pairs, out)) == 0
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_leaves_the_best_model_scores_plot_and_predictions(
    script: ModuleType, pairs: Path, finished: Path
) -> None:
    scores = rows_of(finished / "scores.csv")
    assert [int(row["epoch"]) for row in scores] == [1, 2]
    assert [int(row["step"]) for row in scores] == [3, 6]
    assert all(-1 <= float(row["Spearman"]) <= 1 for row in scores)
    assert (finished / "scores.png").read_bytes().startswith(b"\x89PNG")
    predictions = rows_of(finished / "predictions.csv")
    assert len(predictions) == DEV
    model = RoFormerForSequenceClassification.from_pretrained(finished / "best")
    tokenizer = RoFormerTokenizer.from_pretrained(finished / "best")
    assert model.config.num_labels == 1
    row = predictions[3]
    inputs = tokenizer(row["text"], row["second text"], return_tensors="pt")
    inputs.pop("token_type_ids")
    assert model(**inputs).logits.item() == pytest.approx(float(row["prediction"]), abs=1e-3)


def test_the_best_model_is_that_of_the_best_epoch(
    script: ModuleType, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetuning import sentences

    told = iter((float("nan"), 0.3, 0.2))
    saved = []

    def scores(self: Any, examples: Any, predictions: Any) -> dict[str, float]:
        saved.append([float(each) for each in predictions])
        return {"Spearman": next(told, 0.0), "Pearson": 0.0, "MSE": 0.0}

    monkeypatch.setattr(sentences.Regression, "scores", scores)
    assert script.main(with_dev(pairs, tmp_path, "--epochs", "3", "--lr", "1e-2")) == 0
    kept = [float(row["prediction"]) for row in rows_of(tmp_path / "predictions.csv")]
    assert kept == pytest.approx(saved[1], abs=1e-3)
    for others in (saved[0], saved[2]):
        assert kept != pytest.approx(others, abs=1e-2)


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C in the middle of a step."""
    from finetuning.training import Training

    take, sent = Training.take_step, list[int]()

    def take_and_stop(self: Any) -> None:
        take(self)
        if self.progress.step == step and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Training, "take_step", take_and_stop)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_resumed_training_equals_an_uninterrupted_one(
    script: ModuleType,
    pairs: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    # The package tokenizers chooses among equals by chance, so both start from one vocabulary.
    start = ("--model", str(finished / "best"), "--from-scratch")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert script.main(with_dev(pairs, whole, *start)) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert script.main(with_dev(pairs, parts, *start)) == 130
    held = torch.load(parts / "checkpoint.pt", weights_only=True)["state"]
    assert held["step"] == step
    assert script.main(with_dev(pairs, parts, *start)) == 0
    for name in ("scores.csv", "predictions.csv", "best/model.safetensors"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_training_from_scratch_keeps_its_vocabulary(
    script: ModuleType, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loop import wordpiece

    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        assert script.main(with_dev(pairs, tmp_path)) == 130

    def learn(*_: Any) -> None:
        raise AssertionError("the vocabulary is known")

    monkeypatch.setattr(wordpiece, "learn", learn)
    assert script.main(with_dev(pairs, tmp_path)) == 0


def test_a_complete_training_says_so_and_restart_starts_over(
    script: ModuleType, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(with_dev(pairs, tmp_path)) == 0
    capsys.readouterr()
    assert script.main(with_dev(pairs, tmp_path)) == 0
    assert "complete (--restart starts over)" in capsys.readouterr().out
    assert script.main(with_dev(pairs, tmp_path, "--restart", "--lr", "1e-4")) == 0
    assert "(--restart starts over)" not in capsys.readouterr().out


def test_an_epoch_reads_every_row_once_in_an_order_of_its_own(
    script: ModuleType, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetuning.training import Reader

    read: list[int] = []
    loss = Reader.loss

    def noted(self: Any, rows: Any) -> Any:
        read.extend(row.example for row in rows)
        return loss(self, rows)

    monkeypatch.setattr(Reader, "loss", noted)
    assert script.main(with_dev(pairs, tmp_path)) == 0
    first, second = read[:TRAIN], read[TRAIN:]
    assert sorted(first) == sorted(second) == list(range(TRAIN))
    assert first != second and first != sorted(first)


def test_learns_to_classify(script: ModuleType, reviews: Path, tmp_path: Path) -> None:
    """Whether a word is there can be learned in seconds, and not by a constant."""
    some = arguments(reviews, tmp_path, "--epochs", "12", "--lr", "2e-3", "--dropout", "0")
    assert script.main([*some, "--test", str(reviews)]) == 0
    rows = rows_of(tmp_path / "predictions.csv")
    assert {row["label"] for row in rows} == {"asks", "tells"}
    right = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    assert right > 0.95
    model = RoFormerForSequenceClassification.from_pretrained(tmp_path / "best")
    assert model.config.id2label == {0: "asks", 1: "tells"}


def test_answers_are_parts_of_their_passages(
    script: ModuleType, questions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of 24 tokens, so that a passage takes several."""
    some = arguments(questions, tmp_path, "--max-length", "24", "--dev", str(questions))
    assert script.main(some) == 0
    assert "task       answers" in capsys.readouterr().out
    contexts = [row["context"] for row in rows_of(questions)]
    predictions = [row["prediction"] for row in rows_of(tmp_path / "predictions.csv")]
    assert all(part and part in whole for part, whole in zip(predictions, contexts, strict=True))
    RoFormerForQuestionAnswering.from_pretrained(tmp_path / "best")


def test_starts_from_a_checkpoint_of_another_head(
    script: ModuleType, finished: Path, questions: Path, tmp_path: Path
) -> None:
    some = arguments(questions, tmp_path, "--model", str(finished / "best"), "--epochs", "1")
    assert script.main([*some, "--lr", "1e-30"]) == 0
    name = "encoder.layer.1.attention.self.query.weight"
    ours = RoFormerForQuestionAnswering.from_pretrained(tmp_path / "best").roformer
    theirs = RoFormerForSequenceClassification.from_pretrained(finished / "best").roformer
    assert torch.equal(ours.state_dict()[name], theirs.state_dict()[name])
    assert script.main([*some, "--lr", "1e-30", "--restart", "--from-scratch"]) == 0
    ours = RoFormerForQuestionAnswering.from_pretrained(tmp_path / "best").roformer
    assert not torch.equal(ours.state_dict()[name], theirs.state_dict()[name])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lr", "0.5"], "holds a training with --lr 5e-05, not 0.5; choose another --out"),
        (["--data", "no/such.csv"], "no/such.csv must be a readable file (No such file"),
        (["--columns", "1"], "--columns must name two or three columns, separated by commas, "
         "got '1'"),
        (["--columns", "1,2,9"], "(1, 2, 3), got '9'"),
        (["--columns", "1,2"], "labels must be among the 24 of training, got '"),
        (["--task", "answers"], "must have answers that stand in their context, got '"),
        (["--task", "regression", "--columns", "1,2"], "labels must be numbers for regression"),
        (["--model", "no/such"], "--model must hold a tokenizer: "),
        (["--epochs", "0"], "--epochs must be above zero, got 0"),
        (["--dropout", "1"], "--dropout must be at least 0 and below 1, got 1.0"),
        (["--device", "abacus"], "--device must name a device of this machine, got abacus ("),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_bad_setting_is_one_sentence(
    script: ModuleType,
    pairs: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    assert script.main(with_dev(pairs, finished, *more)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("finetune.py: ") and said.count("\n") == 1
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_a_learning_rate_that_breaks_the_model_is_said(
    script: ModuleType, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(with_dev(pairs, tmp_path, "--lr", "1e30")) == 2
    assert "--lr 1e+30 is too high: the loss has become" in capsys.readouterr().err


def test_help() -> None:
    said = help_of("finetune.py")
    for option in ("--data", "--dev", "--test", "--columns", "--task", "--model", "--out"):
        assert option in said
