"""Train small masked language models that differ only in how they know positions.

The paper's experiment 4.2 and its Fig. 3 at the scale of a laptop: rotary, learned absolute,
sinusoidal and no positions, in lockstep on equal text, masks, weights and learning rate. Leaves the
curves (loss.csv, loss.png) and the rotary model (rotary/, for from_pretrained) in the output
folder, and lets that model fill gaps in held-out sentences. With --tokens wordpiece the model comes
with a tokenizer and can be fine-tuned. Run it again after an interruption, and it goes on.
`torchrun --nproc-per-node 2 scripts/train_mlm.py ...` divides every batch among two processes, for
the same curves.
"""

from __future__ import annotations

import hashlib

import torch
from loop import checkpoint
from loop.architecture import ARCHITECTURES, configuration
from loop.command import STOPPED, run
from loop.ranks import Ranks, joined, leave
from mlm import gaps, positions, report
from mlm.run import Plan, Run
from mlm.settings import Settings, parse
from mlm.text import KINDS, Text, Vocabulary, load_vocabulary, read
from mlm.training import Training, train

from roformer_ext import build_info

VOCABULARY = "vocabulary"


def main(argv: list[str] | None = None) -> int:
    """Run the script; the status is 0 when complete, 2 for a bad setting, 130 when stopped."""

    def work() -> int:
        settings = parse(argv, __doc__ or "")
        with joined(settings.device, settings.batch) as ranks:
            return compare(settings, load_text(settings, ranks), ranks)

    return run("train_mlm.py", work)


def load_text(settings: Settings, ranks: Ranks) -> Text:
    """The text, with the vocabulary of the training that is taken up, or one for all processes."""

    def load(known: Vocabulary | None) -> Text:
        return read(settings.text, settings.tokens, settings.vocab_size, settings.seq_len, known)

    folder, text = settings.out / VOCABULARY, None
    if ranks.first:
        goes_on = checkpoint.exists(settings.out) and folder.exists() and not settings.restart
        text = load(load_vocabulary(folder) if goes_on else None)
    vocabulary = ranks.of_first(text and text.vocabulary)
    return text or load(vocabulary)


def compare(settings: Settings, text: Text, ranks: Ranks) -> int:
    """Train what is left to train, then leave and print all results."""
    ids = torch.cat((text.train, *text.held_out))
    fingerprint = settings.fingerprint(hashlib.sha256(ids.numpy().tobytes()).hexdigest()[:12])
    if settings.restart and ranks.first:
        checkpoint.drop(settings.out)
    ranks.wait()
    state = checkpoint.load(settings.out, fingerprint)
    vocabulary = len(text.vocabulary)
    config = configuration(settings.size, vocabulary, settings.seq_len, settings.dropout)
    plan = Plan(
        steps=settings.steps,
        batch=settings.batch,
        seq_len=settings.seq_len,
        lr=settings.lr,
        seed=settings.seed,
        dropout=settings.dropout,
        dtype=settings.dtype,
        ranks=ranks,
        compile=settings.compile,
    )
    training = Training(
        {
            name: Run(positions.build(name, config, plan.seq_len, plan.seed), plan)
            for name in settings.positions
        }
    )
    print(introduction(settings, text, training, ranks), flush=True)
    if state is not None:
        training.load_state(state)
        print(standing(settings, training), flush=True)
    if ranks.first:
        (settings.out / VOCABULARY).mkdir(parents=True, exist_ok=True)
        text.vocabulary.save(settings.out / VOCABULARY)

    def save() -> None:
        state = training.state()
        if ranks.first:
            checkpoint.save(settings.out, fingerprint, state)
            report.write_csv(training.rows, settings.out / "loss.csv")

    if training.step < plan.steps and not train(training, plan, text, save):
        print(
            f"\nstopped after step {training.step:,} of {plan.steps:,}; "
            "the same command goes on from there"
        )
        return STOPPED
    if ranks.first:
        conclude(settings, text, training)
    return 0


def parameters(training: Training) -> int:
    run = next(iter(training.runs.values()))
    return sum(weight.numel() for weight in run.model.parameters())


def introduction(settings: Settings, text: Text, training: Training, ranks: Ranks) -> str:
    info = build_info()
    units = KINDS[settings.tokens]
    window, held_out = settings.batch * settings.seq_len, sum(map(len, text.held_out))
    names = ", ".join(report.FULL_NAMES[name] for name in settings.positions)
    processes = f"{ranks.size} processes of " if ranks.size > 1 else ""
    return (
        f"text       {text.source}: {len(text.train):,} {units} to learn, {held_out:,} held out\n"
        f"model      {settings.size}: {ARCHITECTURES[settings.size]}, "
        f"{parameters(training):,} parameters, vocabulary of {len(text.vocabulary)}\n"
        f"training   {settings.steps:,} steps of {settings.batch} x {settings.seq_len} = "
        f"{window:,} {units}, learning rate {settings.lr:g}, seed {settings.seed}\n"
        f"positions  {names}\n"
        f"machine    {settings.device}, {processes}{torch.get_num_threads()} threads, "
        f"{settings.dtype}, "
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
        f"{settings.batch} x {settings.seq_len} {KINDS[settings.tokens]}, {text.source}, "
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
    leave(main())
