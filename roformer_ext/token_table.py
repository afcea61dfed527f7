"""`TokenTable`: tokens and their ids, the special ones among them, and text made of ids again.

The idea: this is all of a tokenizer that needs no text going in. What must stay true: ids are the
places of the vocabulary, and the special tokens are members of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .segmentation import needed
from .vocabulary import ids_of

SPECIAL = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenTable:
    """The vocabulary of a tokenizer.

    vocab: the tokens in the order of their ids, or a mapping of tokens to ids.
    special: the token for each name in SPECIAL; mask_token may be None.
    additional: more tokens that `skip_special_tokens` skips.

    ValueError as `vocabulary.ids_of` raises it, and where a special token is not in `vocab`.
    """

    pad_token_type_id = 0

    def __init__(
        self,
        vocab: Mapping[str, int] | Sequence[str],
        special: Mapping[str, str | None],
        additional: Iterable[str] = (),
    ) -> None:
        self._ids = ids_of(vocab)
        self._tokens = list(self._ids)
        self._special = dict(special)
        self.additional_special_tokens = list(additional)
        named = [*special.items()]
        named += [("additional_special_tokens", token) for token in self.additional_special_tokens]
        for name, token in named:
            if token is None and name == "mask_token":
                continue
            if not isinstance(token, str) or token not in self._ids:
                raise ValueError(
                    f"{name} must be in the vocabulary, and {token!r} is none of its "
                    f"{len(self._ids)} tokens"
                )
        self.all_special_tokens: list[str] = list(
            dict.fromkeys(token for _, token in named if token is not None)
        )
        self.all_special_ids: list[int] = [self._ids[token] for token in self.all_special_tokens]
        self._decoder = needed("tokenizers.decoders").WordPiece(prefix="##")

    def __getattr__(self, name: str) -> Any:
        """`unk_token`, `unk_token_id` and so on, for every name in SPECIAL."""
        special = self.__dict__.get("_special", {})
        if name in special:
            return special[name]
        if name.removesuffix("_id") in special and name.endswith("_id"):
            token = special[name.removesuffix("_id")]
            return None if token is None else self._ids[token]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """The special tokens by name."""
        found: dict[str, Any] = {
            name: token for name, token in self._special.items() if token is not None
        }
        if self.additional_special_tokens:
            found["additional_special_tokens"] = list(self.additional_special_tokens)
        return found

    def get_vocab(self) -> dict[str, int]:
        """The id of each token; a copy."""
        return dict(self._ids)

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or a list of ids; that of the unknown token for one that is none."""
        unknown = self._ids[self.unk_token]
        if isinstance(tokens, str):
            return self._ids.get(tokens, unknown)
        return [self._ids.get(token, unknown) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or a list of tokens. ValueError where an id is out of range."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        single = isinstance(ids, int)
        row = [ids] if single else list(ids)
        for place in row:
            if not isinstance(place, int) or not 0 <= place < len(self._tokens):
                raise ValueError(f"ids must be in 0 .. {len(self._tokens) - 1}, got {place!r}")
        if single:
            return self._tokens[ids]
        skipped = frozenset(self.all_special_ids if skip_special_tokens else ())
        return [self._tokens[place] for place in row if place not in skipped]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Tokens as a text: spaces between words, and none before `##` and closing marks."""
        text: str = self._decoder.decode(list(tokens))
        return text

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The text of a row of ids (list or tensor); a list of texts for several rows."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, (list, tuple)) and ids and not isinstance(ids[0], int):
            return self.batch_decode(ids, skip_special_tokens)
        row = [ids] if isinstance(ids, int) else ids
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(row, skip_special_tokens))

    def batch_decode(self, rows: Any, skip_special_tokens: bool = False) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, skip_special_tokens) for row in rows]

    def get_special_tokens_mask(
        self, ids: Any, other: Any = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for each special token of a row, else 0; of the row that would be built, by default."""
        if already_has_special_tokens:
            special = frozenset(self.all_special_ids)
            return [int(int(place) in special) for place in ids]
        first = [1] + [0] * len(ids) + [1]
        return first if other is None else first + [0] * len(other) + [1]
