"""From texts to a batch: pieces, cuts, special tokens, padding and tensors, in this order.

The idea: what a caller may ask for is one `Request`, checked before a text is read. What must stay
true: a row does not depend on the texts beside it but for its padding, and nothing but a cut that
was asked for loses a piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

from .segmentation import Pieces, Segmenter
from .token_batch import Origins, TokenBatch, as_tensors, padded, padded_length
from .truncation import Cut, cuts, strategy

SIDES = ("right", "left")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a call of the tokenizer asks for; the names are those of the call."""

    add_special_tokens: bool = True
    padding: bool | str = False
    truncation: bool | str | None = None
    max_length: int | None = None
    model_max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str = "right"
    truncation_side: str = "right"
    return_tensors: str | None = None
    return_token_type_ids: bool = True
    return_attention_mask: bool = True
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_length: bool = False

    def __post_init__(self) -> None:
        if self.max_length is not None and (
            type(self.max_length) is not int or self.max_length < 0
        ):
            raise ValueError(f"max_length must be a number of tokens, got {self.max_length!r}")
        if type(self.stride) is not int or self.stride < 0:
            raise ValueError(f"stride must be a number of tokens, got {self.stride!r}")
        for name in ("padding_side", "truncation_side"):
            if getattr(self, name) not in SIDES:
                raise ValueError(f"{name} must be right or left, got {getattr(self, name)!r}")
        if self.return_tensors not in (None, "pt", "np"):
            raise ValueError(f"return_tensors must be 'pt' or 'np', got {self.return_tensors!r}")
        padded_length([], self.padding, self.limit, self.pad_to_multiple_of)
        multiple, cut = self.pad_to_multiple_of, self.cut
        if cut is not None and self.padding not in (False, "do_not_pad") and multiple is not None:
            length = self.limit or 0
            if length % multiple:
                raise ValueError(
                    f"max_length must be a multiple of pad_to_multiple_of={multiple} "
                    f"where rows are cut and padded, got {length}"
                )

    @property
    def limit(self) -> int | None:
        """The length that the call names, or else the tokenizer."""
        return self.model_max_length if self.max_length is None else self.max_length

    @property
    def cut(self) -> str | None:
        """How rows are cut; None where they are not, as where nothing names a length."""
        name = strategy(self.truncation, self.max_length, self.padding)
        return None if name == "do_not_truncate" or self.limit is None else name

    @property
    def precise(self) -> bool:
        """Whether the place of every piece is wanted."""
        return self.return_offsets_mapping or self.is_split_into_words


class Marks(NamedTuple):
    """Ids of the tokens that stand around texts."""

    cls: int
    sep: int
    pad: int


def examples(text: Any, text_pair: Any, split: bool) -> tuple[list[tuple[Any, Any]], bool]:
    """(first, second or None) of each row, and whether the caller gave one row without a batch."""
    if _is_text(text, split):
        if text_pair is not None and not _is_text(text_pair, split):
            raise ValueError(f"text_pair must be one text like text, got {_kind(text_pair)}")
        return [(text, text_pair)], True
    if not isinstance(text, (list, tuple)):
        raise ValueError(f"text must be a string, or a list of them for a batch, got {_kind(text)}")
    if text_pair is None:
        rows = [tuple(each) if _is_pair(each, split) else (each, None) for each in text]
    elif isinstance(text_pair, (list, tuple)) and len(text_pair) == len(text):
        rows = list(zip(text, text_pair))
    else:
        raise ValueError(
            f"text_pair must be a list of {len(text)} like text, got {_kind(text_pair)}"
        )
    for index, row in enumerate(rows):
        for name, value in zip(("text", "text_pair"), row):
            if not _is_text(value, split) and (name == "text" or text_pair is not None):
                wanted = "a list of words" if split else "a string"
                raise ValueError(f"{name} must hold {wanted} at {index}, got {_kind(value)}")
    return rows, False


def encoded(
    segmenter: Segmenter, marks: Marks, rows: Sequence[tuple[Any, Any]], request: Request
) -> TokenBatch:
    """The batch of some examples; `length` and tensors included."""
    fields: dict[str, list[Any]] = {"input_ids": []}
    wanted = {
        "token_type_ids": request.return_token_type_ids,
        "attention_mask": request.return_attention_mask,
        "special_tokens_mask": request.return_special_tokens_mask,
        "offset_mapping": request.return_offsets_mapping,
        "length": request.return_length,
        "overflow_to_sample_mapping": request.return_overflowing_tokens,
    }
    fields.update({name: [] for name, asked in wanted.items() if asked})
    origins: list[Origins] = []
    for sample, (text, other) in enumerate(rows):
        first = _pieces(segmenter, text, request)
        second = None if other is None else _pieces(segmenter, other, request)
        for cut in _cuts(first, second, request):
            row, origin = _row(first, second, cut, marks if request.add_special_tokens else None)
            row["overflow_to_sample_mapping"] = sample
            for name, values in fields.items():
                if name != "length":
                    values.append(row[name])
            origins.append(origin)
    lengths = [len(row) for row in fields["input_ids"]]
    length = padded_length(lengths, request.padding, request.limit, request.pad_to_multiple_of)
    side = request.padding_side
    fields = padded(fields, pad_id=marks.pad, length=length, side=side)
    if request.return_length:
        fields["length"] = [len(row) for row in fields["input_ids"]]
    batch = TokenBatch(fields)
    batch.origins = [_beside(origin, length, side) for origin in origins]
    if request.return_tensors is not None:
        batch.update(as_tensors(fields, request.return_tensors))
    return batch


def _is_text(value: Any, split: bool) -> bool:
    if not split:
        return isinstance(value, str)
    return isinstance(value, (list, tuple)) and all(isinstance(word, str) for word in value)


def _is_pair(value: Any, split: bool) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 2
        and all(_is_text(each, split) for each in value)
    )


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, (list, tuple)) else ""
    return type(value).__name__ + length


def _pieces(segmenter: Segmenter, text: Any, request: Request) -> Pieces:
    if not request.precise:
        return Pieces(segmenter.ids(text), [], [])
    if not request.is_split_into_words:
        return segmenter.pieces(text)
    result = Pieces([], [], [])
    for index, word in enumerate(text):
        found = segmenter.pieces(word)
        result.ids.extend(found.ids)
        result.spans.extend(found.spans)
        result.words.extend([index] * len(found.ids))
    return result


def _cuts(first: Pieces, second: Pieces | None, request: Request) -> list[Cut]:
    lengths = len(first.ids), None if second is None else len(second.ids)
    if request.cut is None or request.limit is None:
        return [Cut(slice(None), slice(None))]
    special = (2 if second is None else 3) if request.add_special_tokens else 0
    if request.limit < special:
        raise ValueError(
            f"max_length must hold the {special} special tokens of a row, got {request.limit}"
        )
    return cuts(
        lengths,
        request.limit - special,
        truncation=request.cut,
        stride=request.stride,
        side=request.truncation_side,
        overflow=request.return_overflowing_tokens,
    )


def _row(
    first: Pieces, second: Pieces | None, cut: Cut, marks: Marks | None
) -> tuple[dict[str, Any], Origins]:
    """The fields of one row before padding, and where its tokens come from."""
    ids: list[int] = []
    types: list[int] = []
    special: list[int] = []
    spans: list[tuple[int, int]] = []
    sequences: list[int | None] = []
    words: list[int | None] = []

    def mark(token: int, kind: int) -> None:
        ids.append(token)
        types.append(kind)
        special.append(1)
        spans.append((0, 0))
        sequences.append(None)
        words.append(None)

    if marks is not None:
        mark(marks.cls, 0)
    for kind, pieces, part in ((0, first, cut.first), (1, second, cut.second)):
        if pieces is None:
            continue
        kept = pieces.ids[part]
        ids += kept
        types += [kind] * len(kept)
        special += [0] * len(kept)
        spans += pieces.spans[part]
        sequences += [kind] * len(kept)
        words += pieces.words[part]
        if marks is not None:
            mark(marks.sep, kind)
    row = {
        "input_ids": ids,
        "token_type_ids": types,
        "attention_mask": [1] * len(ids),
        "special_tokens_mask": special,
        "offset_mapping": spans,
    }
    return row, Origins(sequences, words if len(words) == len(ids) else None)


def _beside(origin: Origins, length: int, side: str) -> Origins:
    """The same with None for padding."""
    blank: list[int | None] = [None] * max(length - len(origin.sequences), 0)

    def longer(own: list[int | None]) -> list[int | None]:
        return own + blank if side == "right" else blank + own

    words = None if origin.words is None else longer(origin.words)
    return Origins(longer(origin.sequences), words)
