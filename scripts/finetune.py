"""Fine-tune a RoFormer on pairs of texts, single texts, or questions about passages.

Reads a CSV file, sees from it what the task is, and trains a new head on a checkpoint or from
scratch. After each epoch the dev examples are scored, and the best model is kept in best/, which
from_pretrained reads; at the end it predicts the test examples (predictions.csv). Run the same
command again after an interruption, and it goes on.

  python scripts/finetune.py --data train.csv --dev dev.csv --model CHECKPOINT
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from finetuning import examples, report, start
from finetuning.answers import Answers
from finetuning.examples import Example, Question
from finetuning.sentences import Classification, Regression, is_regression
from finetuning.settings import Settings, parse
from finetuning.task import Row, Task
from finetuning.training import Plan, Reader, Training, train
from loop import checkpoint
from loop.command import STOPPED, BadSetting, run

from roformer_ext import RoFormerTokenizer, build_info

BEST, LEARNED = "best", "tokenizer"


class Data(NamedTuple):
    """The examples, and which columns they came from."""

    train: list[Example]
    dev: list[Example]
    test: list[Example]
    columns: list[str]

    def digest(self) -> str:
        return hashlib.sha256(repr((self.train, self.dev)).encode()).hexdigest()[:12]


def main(argv: list[str] | None = None) -> int:
    """Run the script; the status is 0 when complete, 2 for a bad setting, 130 when stopped."""
    return run("finetune.py", lambda: finetune(parse(argv, __doc__ or "")))


def finetune(settings: Settings) -> int:
    """Train what is left to train, then leave and print all results."""
    data = read(settings)
    tokenizer = choose_tokenizer(settings, data.train)
    task = choose_task(settings, data, tokenizer)
    rows = task.rows(data.train)
    model = choose_model(settings, task, tokenizer)
    fingerprint = settings.fingerprint(data.digest(), start.digest(model))
    plan = Plan(
        epochs=settings.epochs,
        batch=settings.batch,
        lr=settings.lr,
        seed=settings.seed,
        dtype=settings.dtype,
        device=settings.device,
    )
    training = Training(Reader(model.to(plan.device), tokenizer, task, plan), plan, rows, data.dev)
    test_rows = task.rows(data.test)
    if settings.restart:
        checkpoint.drop(settings.out)
    state = checkpoint.load(settings.out, fingerprint)
    print(introduction(settings, data, task, training), flush=True)
    if state is not None:
        training.load_state(state)
        print(standing(settings, training), flush=True)
    settings.out.mkdir(parents=True, exist_ok=True)
    if settings.model is None:
        tokenizer.save_pretrained(settings.out / LEARNED)

    def save_best() -> None:
        model.save_pretrained(settings.out / BEST)
        tokenizer.save_pretrained(settings.out / BEST)

    def save() -> None:
        checkpoint.save(settings.out, fingerprint, training.state())
        report.write_points(training.progress.points, settings.out / "scores.csv")

    if not train(training, save_best, save):
        print(
            f"\nstopped after step {training.progress.step:,} of {training.steps:,}; "
            "the same command goes on from there"
        )
        return STOPPED
    conclude(settings, data, training, test_rows)
    return 0


def read(settings: Settings) -> Data:
    """All examples; dev and test have the columns of the training file."""
    found, columns = examples.read(settings.data, settings.columns, settings.task)

    def same(name: str) -> list[Example]:
        path = getattr(settings, name)
        if path is None:
            return []
        others, _ = examples.read(path, columns or settings.columns, settings.task)
        if type(others[0]) is not type(found[0]):
            raise BadSetting(f"--{name} must hold what --data holds, got another kind of example")
        return others

    dev, test = same("dev"), same("test")
    if not dev:
        found, dev = examples.split(found, settings.seed)
    return Data(found, dev, test, columns)


def choose_tokenizer(settings: Settings, train: Sequence[Example]) -> RoFormerTokenizer:
    if settings.model is not None:
        return start.tokenizer(settings.model)
    learned = settings.out / LEARNED
    if checkpoint.exists(settings.out) and learned.exists() and not settings.restart:
        return start.tokenizer(learned)
    return start.learned_tokenizer(train, settings.vocab_size)


def choose_task(settings: Settings, data: Data, tokenizer: RoFormerTokenizer) -> Task[Any]:
    train: Any = data.train
    asks = isinstance(train[0], Question)
    name = settings.task
    if name is None:
        regression = not asks and is_regression(train)
        name = "answers" if asks else "regression" if regression else "classification"
    if (name == "answers") != asks:
        held = "questions" if asks else "texts with labels"
        raise BadSetting(f"--task must suit {settings.data}, which holds {held}, got {name}")
    kinds: dict[str, Any] = {
        "regression": Regression,
        "classification": Classification,
        "answers": Answers,
    }
    task: Task[Any] = kinds[name](tokenizer, settings.max_length, train)
    return task


def choose_model(settings: Settings, task: Task[Any], tokenizer: RoFormerTokenizer) -> Any:
    if settings.model is None:
        return start.from_nothing(
            settings.size,
            task,
            len(tokenizer),
            settings.max_length,
            settings.dropout,
            settings.seed,
        )
    model = start.from_checkpoint(
        settings.model, task, settings.dropout, settings.seed, encoder=not settings.from_scratch
    )
    if len(tokenizer) > model.config.vocab_size:
        raise BadSetting(
            f"--model must have a token for each of {model.config.vocab_size} embeddings, "
            f"got {len(tokenizer)} tokens"
        )
    return model


def introduction(settings: Settings, data: Data, task: Task[Any], training: Training) -> str:
    model, info = training.reader.model, build_info()
    config = model.config
    counts = [f"{len(data.train):,} to learn", f"{len(data.dev):,} dev"]
    counts += [f"{len(data.test):,} test"] if data.test else []
    columns = f" (columns {', '.join(data.columns)})" if data.columns else ""
    source = "random weights" if settings.from_scratch or not settings.model else settings.model
    parameters = sum(weight.numel() for weight in model.parameters())
    return (
        f"data       {settings.data}: {', '.join(counts)}{columns}\n"
        f"task       {task.name}, the best model by {training.metric}\n"
        f"model      {config.num_hidden_layers} layers x {config.hidden_size}, "
        f"{config.num_attention_heads} heads, {parameters:,} parameters, from {source}\n"
        f"training   {settings.epochs} epochs of {training.steps_of_epoch:,} steps of "
        f"{settings.batch} rows, learning rate {settings.lr:g}, seed {settings.seed}\n"
        f"machine    {settings.device}, {torch.get_num_threads()} threads, {settings.dtype}, "
        f"torch {torch.__version__}, roformer_ext {info['version']} ({info['cpu_level']})\n"
    )


def standing(settings: Settings, training: Training) -> str:
    if training.progress.step == training.steps:
        return f"{settings.out} holds this training, complete (--restart starts over)"
    step = training.progress.step
    return f"{settings.out} holds step {step:,}, going on (--restart starts over)"


def conclude(settings: Settings, data: Data, training: Training, test_rows: list[Row]) -> None:
    """Plot, table, predictions of the best model."""
    out, task, points = settings.out, training.reader.task, training.progress.points
    best = training.progress.best(training.metric)
    assert best is not None
    name, dev_baseline = task.baseline(data.dev)
    title = f"{task.name} on {settings.data.name}, {len(data.train):,} examples"
    report.plot(
        points, training.metric, dev_baseline[training.metric], best, out / "scores.png", title
    )
    model = task.model.from_pretrained(out / BEST).to(training.plan.device)
    reader = Reader(model, training.reader.tokenizer, task, training.plan)
    judged, judged_rows, kind = data.test, test_rows, "test"
    if not data.test:
        judged, judged_rows, kind = data.dev, training.dev_rows, "dev"
    predictions = reader.predictions(judged, judged_rows)
    rows = task.table(judged, predictions)
    report.write_rows(rows, out / "predictions.csv")
    print(
        f"\nafter {training.progress.seconds:.0f} seconds of training, seed {settings.seed}; "
        f"the best of {len(points)} epochs was epoch {best.epoch}:\n"
    )
    print(report.table("dev", {"this model": best.scores, name: dev_baseline}))
    if data.test:
        scores = {"this model": task.scores(judged, predictions), name: task.baseline(judged)[1]}
        print("\n" + report.table("test", scores))
    print(f"\nsome of the {kind} examples:\n\n{report.some(rows)}")
    print(f"model        {out / BEST}")
    print(f"scores       {out / 'scores.png'}, {out / 'scores.csv'}")
    print(f"predictions  {out / 'predictions.csv'}")


if __name__ == "__main__":
    sys.exit(main())
