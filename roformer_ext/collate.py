"""Batches without padding, for a `DataLoader`: `PackingCollator` and `TokenBudgetSampler`.

The idea: a batch is one row of tokens and the bounds of its sequences, which every model here
takes as `cu_seqlens`; and since such a batch costs what its tokens cost, batches are made by
tokens, not by sequences. What must stay true: nothing of an example is cut, dropped or changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler


class PackingCollator:
    """Puts examples one after another: a dict of tensors for `model(**batch)`.

    An example is a mapping of lists or 1-D tensors: `input_ids`, and where there are any
    `token_type_ids`, `position_ids` and `labels`, one entry for each token. A label that is a
    number belongs to the whole sequence; one that is a list does where `sequence_labels` says so.
    An `attention_mask` of zeros and ones drops the tokens that it masks. The batch holds
    `input_ids` [1, T], `cu_seqlens` [n + 1] (int32), other fields per token [1, T] and fields per
    sequence [n] or [n, classes].

    ValueError names the example and the field where lengths differ, a field is missing from some
    of the examples, or an example is empty.
    """

    def __init__(self, *, sequence_labels: bool = False) -> None:
        self.sequence_labels = sequence_labels

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The batch of some examples."""
        if not examples:
            raise ValueError("examples must not be empty, got none")
        names = set(examples[0])
        rows = [self._row(example, index, names) for index, example in enumerate(examples)]
        lengths = torch.tensor([0] + [len(row["input_ids"]) for row in rows])
        batch = {"cu_seqlens": lengths.cumsum(0, dtype=torch.int32)}
        for name, one in rows[0].items():
            parts = [row[name] for row in rows]
            per_token = self._per_token(name, one)
            batch[name] = torch.cat(parts).unsqueeze(0) if per_token else torch.stack(parts)
        return batch

    def _per_token(self, name: str, value: Tensor) -> bool:
        return value.dim() > 0 and not (name == "labels" and self.sequence_labels)

    def _row(self, example: Mapping[str, Any], index: int, names: set[str]) -> dict[str, Tensor]:
        """The tensors of one example, masked tokens left out."""
        if set(example) != names:
            odd = ", ".join(sorted(set(example) ^ names))
            raise ValueError(f"examples must have the same fields, example {index} differs: {odd}")
        if "input_ids" not in example:
            raise ValueError(
                f"example {index} must have input_ids, got {', '.join(sorted(example))}"
            )
        row = {name: torch.as_tensor(value) for name, value in example.items()}
        total = row["input_ids"].shape[:1]
        for name, value in row.items():
            if self._per_token(name, value) and value.shape[:1] != total:
                raise ValueError(
                    f"{name} of example {index} must have {total[0]} entries, one for each token, "
                    f"got {len(value)}"
                )
        mask = row.pop("attention_mask", None)
        if mask is not None:
            kept = mask.bool()
            row = {
                name: value[kept] if self._per_token(name, value) else value
                for name, value in row.items()
            }
        if row["input_ids"].dim() != 1 or not len(row["input_ids"]):
            raise ValueError(
                f"input_ids of example {index} must be a list of at least one token, "
                f"got shape {list(row['input_ids'].shape)}"
            )
        return row


class TokenBudgetSampler(Sampler[list[int]]):
    """Batches of indices with at most `budget` tokens each, for `DataLoader(batch_sampler=...)`.

    lengths: tokens of each example. One that is longer than the budget stands alone.
    shuffle: draw a new order every epoch, from `seed` and the number of the epoch, which
        `set_epoch` sets and every pass raises by one.
    """

    def __init__(
        self, lengths: Sequence[int], budget: int, *, shuffle: bool = True, seed: int = 0
    ) -> None:
        if budget < 1:
            raise ValueError(f"budget must be positive, got {budget}")
        self.lengths = list(lengths)
        self.budget = budget
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of this epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        batches = self._batches()
        self.epoch += 1
        return iter(batches)

    def __len__(self) -> int:
        return len(self._batches())

    def _batches(self) -> list[list[int]]:
        order = list(range(len(self.lengths)))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        batches: list[list[int]] = []
        room = 0
        for index in order:
            length = self.lengths[index]
            if not batches or length > room:
                batches.append([])
                room = self.budget
            batches[-1].append(index)
            room -= length
        return batches
