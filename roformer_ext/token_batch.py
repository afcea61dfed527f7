"""What a tokenizer returns: `TokenBatch`, a dict for `model(**batch)`, and how rows become one.

The idea: every field is a list of rows until the end, and padding and tensors are two steps on
such lists, the same for rows just made and for rows that come back from a data set. What must stay
true: a field that is not one entry for each token is left alone, and nothing is cut here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# What a padded place holds; input_ids take the id of the padding token.
_FILL: dict[str, Any] = {
    "token_type_ids": 0,
    "attention_mask": 0,
    "special_tokens_mask": 1,
    "offset_mapping": (0, 0),
}
_ROWS = ("input_ids", *_FILL)


class Origins(NamedTuple):
    """Where the tokens of one row come from; None for special tokens and padding."""

    sequences: list[int | None]
    words: list[int | None] | None


class TokenBatch(dict[str, Any]):
    """Fields by name, as keys and as attributes; of one row, or of several.

    What a tokenizer has just made also knows `sequence_ids(row)`, and `word_ids(row)` where
    offsets or words were asked for.
    """

    origins: Sequence[Origins] = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the batch has no {name}; it has {', '.join(self)}") from None

    def to(self, *args: Any, **options: Any) -> TokenBatch:
        """Moves the tensors, as `Tensor.to` would each of them; returns the batch itself."""
        for name, value in self.items():
            if hasattr(value, "to"):
                self[name] = value.to(*args, **options)
        return self

    def sequence_ids(self, row: int = 0) -> list[int | None]:
        """For each token of a row 0 or 1, the text that it comes from; None for special ones."""
        return list(self._origins(row).sequences)

    def word_ids(self, row: int = 0) -> list[int | None]:
        """For each token of a row the count of its word in its text; None for special ones.

        Words are those that the caller gave, or with return_offsets_mapping=True those found.
        """
        words = self._origins(row).words
        if words is None:
            raise ValueError(
                "word_ids needs return_offsets_mapping or is_split_into_words, got neither"
            )
        return list(words)

    def _origins(self, row: int) -> Origins:
        if not -len(self.origins) <= row < len(self.origins):
            raise ValueError(
                f"row must be one of the {len(self.origins)} that a tokenizer made, got {row}"
            )
        return self.origins[row]


def padded(
    fields: Mapping[str, list[Any]], *, pad_id: int, length: int, side: str
) -> dict[str, list[Any]]:
    """The rows of each field, made as long as `length` at least by padding on one side."""
    missing = [max(length - len(row), 0) for row in fields["input_ids"]]
    if not any(missing):
        return dict(fields)
    result = dict(fields)
    for name in _ROWS:
        if name not in fields:
            continue
        fill = pad_id if name == "input_ids" else _FILL[name]
        rows = zip(fields[name], missing)
        if side == "right":
            result[name] = [list(row) + [fill] * count for row, count in rows]
        else:
            result[name] = [[fill] * count + list(row) for row, count in rows]
    return result


def padded_length(
    lengths: Sequence[int], padding: bool | str, max_length: int | None, multiple: int | None
) -> int:
    """How long rows of these lengths are to be at least; 0 without padding."""
    name = {True: "longest", False: "do_not_pad"}.get(padding, padding)  # type: ignore[arg-type]
    if multiple is not None and multiple < 1:
        raise ValueError(f"pad_to_multiple_of must be positive, got {multiple}")
    if name == "do_not_pad":
        return 0
    if name == "max_length":
        if max_length is None:
            raise ValueError("padding='max_length' needs max_length, got None")
        longest = max_length
    elif name == "longest":
        longest = max(lengths, default=0)
    else:
        raise ValueError(
            f"padding must be True, False, 'longest', 'max_length' or 'do_not_pad', got {padding!r}"
        )
    return longest if multiple is None else -(-longest // multiple) * multiple


def rows_of(
    encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], bool]:
    """Fields of rows that `pad` was given, as lists, and whether it was one row without a batch."""
    if not isinstance(encoded, Mapping):
        names = list(encoded[0]) if encoded else ["input_ids"]
        for index, each in enumerate(encoded):
            if set(each) != set(names):
                odd = ", ".join(sorted(set(each) ^ set(names)))
                raise ValueError(f"encoded must have the same fields, entry {index} differs: {odd}")
        encoded = {name: [each[name] for each in encoded] for name in names}
    if "input_ids" not in encoded:
        raise ValueError(f"encoded must have input_ids, got {', '.join(encoded) or 'nothing'}")
    fields = {name: _listed(value) for name, value in encoded.items()}
    ids = fields["input_ids"]
    single = bool(ids) and not isinstance(ids[0], list)
    if single:
        fields = {name: [value] for name, value in fields.items()}
    for name in fields.keys() & set(_ROWS):
        for index, (row, tokens) in enumerate(zip(fields[name], fields["input_ids"])):
            if len(row) != len(tokens):
                raise ValueError(
                    f"{name} must have {len(tokens)} entries in row {index}, one for each token, "
                    f"got {len(row)}"
                )
    return fields, single


def _listed(value: Any) -> Any:
    """Tensors and arrays, also those in a list, as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "tolist"):
        return [each.tolist() for each in value]
    return value


def as_tensors(fields: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Each field as an int64 tensor ("pt") or array ("np"); other numbers keep their kind."""
    if kind not in ("pt", "np"):
        raise ValueError(f"return_tensors must be 'pt' or 'np', got {kind!r}")
    result: dict[str, Any] = {}
    for name, value in fields.items():
        lengths = {len(row) for row in value if isinstance(row, (list, tuple))}
        if len(lengths) > 1:
            raise ValueError(
                f"{name} must have rows of one length to become a tensor, got lengths "
                f"{min(lengths)} to {max(lengths)}; padding=True or truncation=True makes them so"
            )
        if kind == "np":
            import numpy as np

            result[name] = np.array(value) if value else np.zeros(0, np.int64)
        else:
            import torch

            result[name] = torch.tensor(value) if value else torch.zeros(0, dtype=torch.int64)
    return result
