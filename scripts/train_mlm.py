"""Train small masked language models that differ only in how they know positions.

The paper's experiment 4.2 and its Fig. 3 at the scale of a laptop: rotary, learned absolute,
sinusoidal and no positions, in lockstep on equal text, masks, weights and learning rate. Leaves the
curves (loss.csv, loss.png) and the rotary model (rotary/) in the output folder, and lets that model
fill gaps in held-out sentences. Run it again after an interruption, and it goes on.
"""

from __future__ import annotations

import hashlib
import sys

import torch
from mlm import BadSetting, checkpoint, gaps, positions, report
from mlm.run import Plan, Run
from mlm.settings import SIZES, Settings, parse
from mlm.text import PAD, Text, read
from mlm.training import Training, train

from roformer_ext import RoFormerConfig, build_info

STOPPED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the script; the status is 0 when complete, 2 for a bad setting, 130 when stopped."""
    # A terminal that lacks a character of the text shall not end the training.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        settings = parse(argv, __doc__ or "")
        return compare(settings, read(settings.text, settings.tokens, settings.seq_len))
    except BadSetting as error:
        print(f"train_mlm.py: {error}", file=sys.stderr)
        return 2


def compare(settings: Settings, text: Text) -> int:
    """Train what is left to train, then leave and print all results."""
    ids = torch.cat((text.train, *text.held_out))
    fingerprint = settings.fingerprint(hashlib.sha256(ids.numpy().tobytes()).hexdigest()[:12])
    state = None if settings.restart else checkpoint.load(settings.out, fingerprint)
    config = configuration(settings, len(text.vocabulary))
    plan = Plan(
        steps=settings.steps,
        batch=settings.batch,
        seq_len=settings.seq_len,
        lr=settings.lr,
        seed=settings.seed,
        dropout=settings.dropout,
        dtype=settings.dtype,
        device=settings.device,
        compile=settings.compile,
    )
    training = Training(
        {
            name: Run(positions.build(name, config, plan.seq_len, plan.seed), plan)
            for name in settings.positions
        }
    )
    print(introduction(settings, text, training), flush=True)
    if state is not None:
        training.load_state(state)
        print(standing(settings, training), flush=True)
    settings.out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        checkpoint.save(settings.out, fingerprint, training.state())
        report.write_csv(training.rows, settings.out / "loss.csv")

    if training.step < plan.steps and not train(training, plan, text, save):
        print(
            f"\nstopped after step {training.step:,} of {plan.steps:,}; "
            "the same command goes on from there"
        )
        return STOPPED
    conclude(settings, text, training)
    return 0


def configuration(settings: Settings, vocabulary: int) -> RoFormerConfig:
    size = SIZES[settings.size]
    return RoFormerConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        hidden_dropout_prob=settings.dropout,
        attention_probs_dropout_prob=settings.dropout,
        max_position_embeddings=settings.seq_len,
        type_vocab_size=1,
        pad_token_id=PAD,
    )


def parameters(training: Training) -> int:
    run = next(iter(training.runs.values()))
    return sum(weight.numel() for weight in run.model.parameters())


def introduction(settings: Settings, text: Text, training: Training) -> str:
    size, info = SIZES[settings.size], build_info()
    units = {"char": "characters", "byte": "bytes"}[settings.tokens]
    window, held_out = settings.batch * settings.seq_len, sum(map(len, text.held_out))
    names = ", ".join(report.FULL_NAMES[name] for name in settings.positions)
    return (
        f"text       {text.source}: {len(text.train):,} {units} to learn, {held_out:,} held out\n"
        f"model      {settings.size}: {size.layers} layers x {size.width}, {size.heads} heads, "
        f"{parameters(training):,} parameters, vocabulary of {len(text.vocabulary)}\n"
        f"training   {settings.steps:,} steps of {settings.batch} x {settings.seq_len} = "
        f"{window:,} {units}, learning rate {settings.lr:g}, seed {settings.seed}\n"
        f"positions  {names}\n"
        f"machine    {settings.device}, {torch.get_num_threads()} threads, {settings.dtype}, "
        f"torch {torch.__version__}, roformer_ext {info['version']} ({info['cpu_level']})\n"
    )


def standing(settings: Settings, training: Training) -> str:
    if training.step == settings.steps:
        return f"{settings.out} holds this training, complete (--restart starts over)"
    return f"{settings.out} holds step {training.step:,}, going on (--restart starts over)"


def conclude(settings: Settings, text: Text, training: Training) -> None:
    """Plot, table, saved model, filled gaps."""
    out = settings.out
    subtitle = (
        f"{settings.size}: {parameters(training) / 1e6:.2g} M parameters, batches of "
        f"{settings.batch} x {settings.seq_len} {settings.tokens}s, {text.source}, "
        f"seed {settings.seed}"
    )
    report.plot(training.rows, out / "loss.png", subtitle)
    print(
        f"\nafter {training.step:,} steps, {training.seconds:.0f} seconds of training, seed "
        f"{settings.seed}; losses in nats per masked token:\n"
    )
    print(report.table(training.rows))
    print(f"\ncurves  {out / 'loss.png'}, {out / 'loss.csv'}")
    if "rotary" not in training.runs:
        return
    model = training.runs["rotary"].model
    gaps.save(model, text.vocabulary, out / "rotary")
    print(f"model   {out / 'rotary'}\n\nthe rotary model fills gaps in held-out text:\n")
    print(gaps.fill(out / "rotary", text, settings.seq_len, settings.seed))


if __name__ == "__main__":
    sys.exit(main())
