"""The training script, a few steps on a text of its own: what it leaves, and how it resumes.

Nothing here judges a loss. A training that was stopped and taken up again must end with the very
bits of the uninterrupted one, and a setting that cannot be used must be one sentence.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scripts_path import help_of, importable

from roformer_ext import RoFormerForMaskedLM, RoFormerTokenizer

STEPS = 6


@pytest.fixture(scope="module")
def script() -> Any:
    """The script as a module; it finds its parts beside itself, as when it is run."""
    pytest.importorskip("tqdm")
    pytest.importorskip("matplotlib")
    with importable():
        import train_mlm

        yield train_mlm


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two thousand characters of made-up sentences."""
    words = ("the", "rotary", "model", "turns", "each", "query", "and", "key", "by", "its", "angle")
    chosen = random.Random(0)
    sentences = [" ".join(chosen.choices(words, k=9)).capitalize() + "." for _ in range(50)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(sentences), encoding="utf-8")
    return path


def arguments(text: Path, out: Path, *more: str) -> list[str]:
    few = f"--steps {STEPS} --batch 4 --seq-len 32 --device cpu".split()
    return ["--text", str(text), "--out", str(out), *few, *more]


@pytest.fixture(scope="module")
def finished(script: ModuleType, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted training."""
    out = tmp_path_factory.mktemp("finished")
    assert script.main(arguments(text, out)) == 0
    return out


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Press Ctrl-C in the middle of a step."""
    import mlm.run

    take, sent = mlm.run.Run.step, list[int]()

    def take_and_stop(run: Any, at: int, *batch: torch.Tensor) -> None:
        take(run, at, *batch)
        if at == step and not sent:
            sent.append(at)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(mlm.run.Run, "step", take_and_stop)


def test_leaves_curves_plot_checkpoint_and_model(finished: Path) -> None:
    with (finished / "loss.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["positions"] for row in rows} == {"rotary", "learned", "sinusoidal", "none"}
    assert [int(row["step"]) for row in rows if row["positions"] == "none"] == [*range(STEPS + 1)]
    assert all(0 < float(row["validation_loss"]) < 20 for row in rows)
    assert (finished / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (finished / "checkpoint.pt").exists()
    config = json.loads((finished / "rotary" / "config.json").read_text(encoding="utf-8"))
    vocabulary = json.loads((finished / "rotary" / "vocab.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "roformer"
    assert config["vocab_size"] == len(vocabulary["specials"]) + len(vocabulary["symbols"])
    tensors = load_file(finished / "rotary" / "model.safetensors")
    assert "roformer.encoder.layer.1.attention.self.value.bias" in tensors
    assert "cls.predictions.transform.dense.weight" in tensors
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())


def test_runs_start_from_equal_weights(script: ModuleType) -> None:
    from mlm import positions

    from roformer_ext import RoFormerConfig

    config = RoFormerConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    states = [positions.build(name, config, 8, seed=3).state_dict() for name in positions.SCHEMES]
    for state in states[1:]:
        for name, tensor in states[0].items():
            assert torch.equal(state[name], tensor), name


def test_resumed_training_equals_an_uninterrupted_one(
    script: ModuleType,
    text: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(patch, step=2)
        assert script.main(arguments(text, tmp_path)) == 130
    held = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert held["step"] == 3
    assert script.main(arguments(text, tmp_path)) == 0
    assert (tmp_path / "loss.csv").read_bytes() == (finished / "loss.csv").read_bytes()
    ours = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]["runs"]
    theirs = torch.load(finished / "checkpoint.pt", weights_only=True)["state"]["runs"]
    for name in theirs:
        for key, tensor in theirs[name]["model"].items():
            assert torch.equal(ours[name]["model"][key], tensor), (name, key)


def test_a_kill_leaves_a_checkpoint_to_go_on_from(
    script: ModuleType, text: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure in the middle of a step stands for the kill: nothing more is saved after it."""
    import mlm.run

    with monkeypatch.context() as patch:
        take = mlm.run.Run.step

        def fail(run: Any, at: int, *batch: torch.Tensor) -> None:
            if at == 4:
                raise MemoryError
            take(run, at, *batch)

        patch.setattr(mlm.run.Run, "step", fail)
        with pytest.raises(MemoryError):
            script.main(arguments(text, tmp_path))
    assert script.main(arguments(text, tmp_path)) == 0
    assert (tmp_path / "loss.csv").read_bytes() == (finished / "loss.csv").read_bytes()


def test_a_complete_training_says_so_and_restart_starts_over(
    script: ModuleType, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = arguments(text, tmp_path, "--positions", "none,rotary", "--steps", "2")
    assert script.main(some) == 0
    capsys.readouterr()
    assert script.main(some) == 0
    again = capsys.readouterr().out
    assert "complete (--restart starts over)" in again
    assert "lowest validation loss" in again
    assert script.main([*some, "--restart"]) == 0
    assert "(--restart starts over)" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lr", "0.5"], "holds a training with --lr 0.002, not 0.5; choose another --out, or add "
         "--restart to start over"),
        (["--seed", "1"], "holds a training with --seed 0, not 1; choose another --out, or add "
         "--restart to start over"),
        (["--text", "no/such/file"], "--text must name a readable file, got no/such/file (No such "
         "file or directory)"),
        (["--seq-len", "4096"], "--text must hold at least 40960 tokens for --seq-len 4096, got "),
        (["--positions", "rotary,clock"], "--positions must list some of rotary, learned, "
         "sinusoidal, none, got 'clock'"),
        (["--steps", "0"], "--steps must be above zero, got 0"),
        (["--dropout", "1"], "--dropout must be at least 0 and below 1, got 1.0"),
        (["--device", "abacus"], "--device must name a device of this machine, got abacus ("),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_bad_setting_is_one_sentence(
    script: ModuleType,
    text: Path,
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    assert script.main(arguments(text, finished, *more)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("train_mlm.py: ") and said.count("\n") == 1


def test_text_that_is_not_utf8_needs_byte_tokens(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("Das süße Mädchen aß Brötchen. ".encode("latin-1") * 30)
    few = arguments(path, tmp_path / "out", "--positions", "rotary", "--steps", "1")
    assert script.main(few) == 2
    assert "--text must be UTF-8 for --tokens char" in capsys.readouterr().err
    assert script.main([*few, "--tokens", "byte", "--dtype", "bfloat16"]) == 0


@pytest.fixture(scope="module")
def pieces(script: ModuleType, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on word pieces of two files."""
    pytest.importorskip("tokenizers")
    out = tmp_path_factory.mktemp("pieces")
    lines = text.with_name("lines.txt")
    lines.write_text(text.read_text(encoding="utf-8").replace(". ", ".\n"), encoding="utf-8")
    assert script.main(on_pieces(lines, text, out)) == 0
    return out


def on_pieces(lines: Path, text: Path, out: Path) -> list[str]:
    few = f"--steps {STEPS} --batch 4 --seq-len 16 --device cpu --positions rotary".split()
    kind = ["--tokens", "wordpiece", "--vocab-size", "60"]
    return ["--text", str(lines), str(text), "--out", str(out), *few, *kind]


def test_word_pieces_leave_a_model_with_its_tokenizer(pieces: Path) -> None:
    model = RoFormerForMaskedLM.from_pretrained(pieces / "rotary")
    tokenizer = RoFormerTokenizer.from_pretrained(pieces / "rotary")
    assert len(tokenizer) == model.config.vocab_size <= 60
    ids = tokenizer("Each query turns.", return_tensors="pt")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert model(ids).logits.shape == (1, ids.shape[1], len(tokenizer))


def test_word_pieces_are_taken_up_again(
    script: ModuleType,
    text: Path,
    pieces: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the vocabulary that was learned first: another one would be another text."""
    lines = text.with_name("lines.txt")
    with monkeypatch.context() as patch:
        interrupt_at(patch, step=2)
        assert script.main(on_pieces(lines, text, tmp_path)) == 130
    vocabulary = (tmp_path / "vocabulary" / "vocab.txt").read_bytes()
    monkeypatch.delattr("loop.wordpiece.learn")
    assert script.main(on_pieces(lines, text, tmp_path)) == 0
    assert (tmp_path / "rotary" / "vocab.txt").read_bytes() == vocabulary
    assert script.main([*on_pieces(lines, text, tmp_path), "--vocab-size", "50"]) == 2
    assert "holds a training with --vocab-size 60, not 50" in capsys.readouterr().err


def test_windows_of_word_pieces_look_like_rows(script: ModuleType, text: Path) -> None:
    """They begin with [CLS], lines end with [SEP], and neither is ever asked for."""
    from mlm.text import IGNORED, read

    lines = text.with_name("lines.txt")
    lines.write_text(text.read_text(encoding="utf-8").replace(". ", ".\n\n"), encoding="utf-8")
    words = read((lines,), "wordpiece", 60, 16)
    tokenizer = words.vocabulary.tokenizer
    whole = torch.cat((words.train, *words.held_out))
    assert (whole == tokenizer.sep_token_id).sum() == 50
    ids, labels = words.batch(seed=0, step=1, batch=200, seq_len=16)
    assert (ids[:, 0] == tokenizer.cls_token_id).all()
    asked = labels[labels != IGNORED]
    assert asked.min() >= 5 and len(asked) == pytest.approx(0.15 * 200 * 15, rel=0.2)
    assert (ids[labels != IGNORED] == tokenizer.mask_token_id).float().mean() > 0.7


def test_gaps_stand_below_each_other(script: ModuleType) -> None:
    from mlm.gaps import table

    said = table(["a", "long", "one"], ["a", "rotary", "one"], [0, 1, 0], [1, 0, 1], " ")
    assert said == [
        "  original  a long   one",
        "  masked    a ____   one",
        "  filled    a rotary one",
        "              x",
        "",
    ]


def test_held_out_text_is_never_in_a_batch(script: ModuleType) -> None:
    from mlm.characters import MASK
    from mlm.text import IGNORED, read

    text = read((), "char", 0, 64)
    assert sum(map(len, text.held_out)) == pytest.approx(len(text.train) / 9, rel=0.15)
    train = "".join(text.vocabulary.show(text.train))
    assert not any("".join(text.vocabulary.show(block[:64])) in train for block in text.held_out)
    ids, labels = text.batch(seed=0, step=5, batch=64, seq_len=64)
    again, _ = text.batch(seed=0, step=5, batch=64, seq_len=64)
    asked = labels != IGNORED
    assert torch.equal(ids, again)
    assert asked.float().mean().item() == pytest.approx(0.15, abs=0.02)
    assert (ids[asked] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.06)
    assert not (ids[~asked] == MASK).any()


def test_help() -> None:
    said = help_of("train_mlm.py")
    for option in ("--text", "--tokens", "--positions", "--size", "--steps", "--device", "--out"):
        assert option in said
