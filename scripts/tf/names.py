"""Which variable of a checkpoint is which tensor of a RoFormer.

The one idea: the names are those of Google's BERT, as bert4keras writes them, and our tensors have
the same ones in another spelling; so our names are spelled as variables and looked up, and what is
left over belongs to an optimiser or is an error. What must stay true: no variable is passed over
in silence, and one that two names could mean is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tf import BadCheckpoint

# What training leaves beside the weights, as one part of a name.
_TRAINING = re.compile(
    r"(adam|adamw|lamb|momentum|sgd|rmsprop)\w*|global_step|beta[12]_power(_\d+)?"
    r"|save_counter|_CHECKPOINTABLE_OBJECT_GRAPH",
    re.IGNORECASE,
)
_WORDS, _TYPES = "/embeddings/word_embeddings", "/embeddings/token_type_embeddings"
_PROJECTIONS = ("encoder/embedding_hidden_mapping_in", "embeddings_project")
_BIASES = ("cls.predictions.bias", "cls.predictions.decoder.bias")
_SHOWN = 20


class Source(NamedTuple):
    """The variable that a tensor comes from."""

    variable: str
    transposed: bool


class Contents(NamedTuple):
    """What the names say about the architecture."""

    root: str
    """What the encoder's names begin with, "bert" as a rule."""
    layers: int
    norms: bool
    biases: bool
    pooler: bool
    predictions: bool

    @property
    def words(self) -> str:
        return self.root + _WORDS

    @property
    def types(self) -> str:
        return self.root + _TYPES

    @property
    def intermediate(self) -> str:
        return f"{self.root}/encoder/layer_0/intermediate/dense/kernel"


def of_model(names: Iterable[str], ignore: Iterable[str] = ()) -> set[str]:
    """The names without those of an optimiser and those in which a pattern of `ignore` is found."""
    patterns = [re.compile(pattern) for pattern in ignore]
    return {
        name
        for name in names
        if not any(_TRAINING.fullmatch(part) for part in name.split("/"))
        and not any(pattern.search(name) for pattern in patterns)
    }


def contents(names: set[str]) -> Contents:
    """What is there; BadCheckpoint where there are no embeddings, or layers are missing."""
    roots = [name.removesuffix(_WORDS) for name in names if name.endswith(_WORDS)]
    if len(roots) != 1:
        found = listed(roots) if roots else f"none among {listed(names)}"
        raise BadCheckpoint(
            f"the checkpoint must have one variable .../embeddings/word_embeddings, got {found}"
        )
    root = roots[0]
    layer = re.compile(re.escape(root) + r"/encoder/layer_(\d+)/")
    numbers = {int(found[1]) for name in names if (found := layer.match(name))}
    if numbers != set(range(len(numbers))):
        raise BadCheckpoint(
            f"the layers must be numbered from 0 without a gap, got {listed(map(str, numbers))}"
        )
    return Contents(
        root=root,
        layers=len(numbers),
        norms=any("/LayerNorm/" in name for name in names),
        biases=any(layer.match(name) and name.endswith("/bias") for name in names),
        pooler=any(name.startswith(f"{root}/pooler/") for name in names),
        predictions=any(name.startswith("cls/predictions/") for name in names),
    )


def sources(tensors: Iterable[str], names: set[str], root: str) -> dict[str, Source]:
    """Where each tensor of a model comes from, by its name in the state dict.

    BadCheckpoint lists what the model needs and the checkpoint lacks, or else what the checkpoint
    has and the model does not know.
    """
    found = {}
    missing = []
    for tensor in tensors:
        spellings = _spellings(tensor, root)
        present = [source for source in spellings if source.variable in names]
        if len(present) > 1:
            both = listed(source.variable for source in present)
            raise BadCheckpoint(f"the checkpoint must have one of {both}, got both")
        if present:
            found[tensor] = present[0]
        else:
            missing.append(spellings[0].variable)
    if missing:
        raise BadCheckpoint(f"the checkpoint lacks {listed(missing)}")
    unknown = names - {source.variable for source in found.values()}
    if unknown:
        raise BadCheckpoint(
            f"no tensor of this model is {listed(unknown)}; --ignore REGEX leaves variables out"
        )
    return found


def listed(names: Iterable[str]) -> str:
    """Names in an error message: the first 20 in order, and how many more there are."""
    ordered = sorted(names)
    more = len(ordered) - _SHOWN
    return ", ".join(ordered[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _spellings(tensor: str, root: str) -> list[Source]:
    """The variables that may hold a tensor, the usual one first."""
    if tensor in _BIASES:
        return [Source("cls/predictions/output_bias", False)]
    *parts, leaf = tensor.split(".")
    if parts[0] == "embeddings_project" or parts[:2] == ["roformer", "embeddings_project"]:
        return [_leaf([root, projection], leaf) for projection in _PROJECTIONS]
    if parts[0] == "roformer":
        parts = parts[1:]
    if parts[0] != "cls":
        parts = [root, *parts]
    if "layer" in parts:
        at = parts.index("layer")
        parts[at : at + 2] = [f"layer_{parts[at + 1]}"]
    return [_leaf(parts, leaf)]


def _leaf(parts: list[str], leaf: str) -> Source:
    path = "/".join(parts)
    if parts[-1].endswith("_embeddings"):
        return Source(path, False)
    if parts[-1] == "LayerNorm":
        return Source(f"{path}/{'gamma' if leaf == 'weight' else 'beta'}", False)
    if leaf == "weight":
        # TensorFlow multiplies by kernels from the right.
        return Source(f"{path}/kernel", True)
    return Source(f"{path}/{leaf}", False)
