"""What is measured: modes, sizes, dtypes, and which of them belong to which run.

The one idea: a case is one mode on one batch, everybody who takes part meets in the same rounds,
and the name of a case is what targets speak of. What must stay true: tokens and operations count
real tokens only, so that dropping padding shows as speed and computing it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

# forward: the body, no gradients. train: masked LM, forward, backward and AdamW. head: its loss and
# backward from given hidden states. memory: peak of two training steps. attention: torch's own
# kernel in float32 and bfloat16, which is where half precision loses its time on a CPU.
MODES = ("forward", "train", "head", "memory", "attention")
OURS, OURS_COMPILED = "ours", "ours compiled"
THEIRS, THEIRS_COMPILED = "transformers", "transformers compiled"
BERT, MODERNBERT = "BERT, SDPA", "ModernBERT"
EAGER = (OURS, THEIRS)
ROFORMERS = (OURS, OURS_COMPILED, THEIRS, THEIRS_COMPILED)
EVERYBODY = (*ROFORMERS, BERT, MODERNBERT)
MASKED = 0.15


@dataclass(frozen=True)
class Size:
    """An architecture; the embeddings are as wide as the hidden states."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    intermediate: int
    positions: int

    @property
    def layer_weights(self) -> int:
        """Weights of the products in one layer."""
        return self.hidden * (4 * self.hidden + 2 * self.intermediate)


BASE = Size(50000, 768, 12, 12, 3072, 1536)
TINY = Size(200, 32, 2, 4, 64, 64)


@dataclass(frozen=True)
class Case:
    """One mode on `batch` rows of `length` positions, of which a share `fill` are tokens."""

    mode: str
    batch: int
    length: int
    dtype: str = "float32"
    fill: float = 1.0
    who: tuple[str, ...] = EAGER
    size: Size = BASE

    @property
    def name(self) -> str:
        filled = "" if self.fill == 1 else f" {self.fill:.0%} full"
        return f"{self.mode} {self.dtype} {self.batch}x{self.length}{filled}"

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, evenly spread around `fill * length`; the longest row is full."""
        if self.batch == 1 or self.fill == 1:
            return [round(self.fill * self.length)] * self.batch
        step = 2 * (1 - self.fill) / (self.batch - 1)
        return [max(1, round(self.length * (1 - step * row))) for row in range(self.batch)]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def labelled(self) -> int:
        return max(1, round(MASKED * self.tokens))

    @property
    def operations(self) -> int:
        """Floating-point operations of the products that real (for a head labelled) tokens need."""
        size = self.size
        scores = 4 * size.hidden * sum(length**2 for length in self.lengths)
        body = size.layers * (2 * size.layer_weights * self.tokens + scores)
        head = 2 * self.labelled * size.hidden * (size.hidden + size.vocab)
        return {"forward": body, "head": 3 * head, "attention": scores}.get(
            self.mode, 3 * (body + head)
        )


def default() -> list[Case]:
    """What the targets speak of, in a quarter of an hour.

    Layers are alike, so two of base's twelve stand for all where nothing else is in the figure;
    where the head takes part all twelve do.
    """
    short = replace(BASE, layers=2)
    return [
        Case("forward", 8, 128, who=EVERYBODY, size=short),
        Case("forward", 8, 512, who=ROFORMERS, size=short),
        Case("forward", 1, 1536, who=ROFORMERS, size=short),
        Case("forward", 8, 512, fill=0.6, who=(*EAGER, THEIRS_COMPILED), size=short),
        Case("forward", 8, 128, "bfloat16", size=short),
        Case("attention", 8, 512, "bfloat16"),
        Case("head", 8, 128, size=replace(BASE, layers=1)),
        Case("train", 8, 128, who=ROFORMERS),
        Case("train", 8, 128, "bfloat16"),
        Case("memory", 8, 512),
    ]


def full() -> list[Case]:
    """Everybody in every mode, twelve layers; allow half a day."""
    batches = ((8, 128, 1.0), (8, 512, 1.0), (1, 1536, 1.0), (8, 512, 0.6))
    return [
        Case(mode, batch, length, dtype, fill, EVERYBODY)
        for mode in ("forward", "train", "head", "memory")
        for dtype in ("float32", "bfloat16")
        for batch, length, fill in batches
        if mode != "head" or fill == 1
    ] + [Case("attention", batch, length, "bfloat16") for batch, length, _ in batches[:3]]


def tiny() -> list[Case]:
    """A smoke run: every mode and everybody who needs no compiler, in seconds."""
    eager = (*EAGER, BERT, MODERNBERT)
    return [
        Case("forward", 3, 16, who=eager, size=TINY),
        Case("forward", 3, 16, fill=0.6, who=eager, size=TINY),
        Case("forward", 3, 16, "bfloat16", who=EAGER, size=TINY),
        Case("attention", 3, 16, "bfloat16", size=TINY),
        Case("head", 3, 16, size=TINY),
        Case("train", 3, 16, who=eager, size=TINY),
        Case("train", 3, 16, "bfloat16", fill=0.6, who=EAGER, size=TINY),
        Case("memory", 3, 16, size=TINY),
    ]
