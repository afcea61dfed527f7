"""`RoFormerTokenizer`: texts to token ids as the checkpoints of RoFormer expect them, and back.

The idea: Chinese words are tokens of the first checkpoints, so texts are divided by rjieba before
WordPiece; the char, V2 and Sim checkpoints divide as BERT does, and the files of a checkpoint say
which. What must stay true: the ids are those of transformers' tokenizers on the same vocabulary,
spans slice the caller's own text, and an object is its settings, so it pickles, copies and may be
used from several threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from .encoding import SIDES, Marks, Request, encoded, examples
from .segmentation import WORDS, Segmenter, needed, words_of
from .token_batch import TokenBatch, as_tensors, padded, padded_length, rows_of
from .token_table import SPECIAL, TokenTable
from .vocabulary import read_directory, read_vocabulary, write_directory

_SETTINGS = (
    "words",
    "do_lower_case",
    "strip_accents",
    "tokenize_chinese_chars",
    "additional_special_tokens",
    "whole_tokens",
    "model_max_length",
    "padding_side",
    "truncation_side",
)
# The class that a tokenizer_config.json names, and how it finds words.
_CLASSES = {"RoFormerTokenizer": "jieba", "BertTokenizer": "characters"}


class RoFormerTokenizer(TokenTable):
    """Tokenizer of RoFormer; needs the extra `roformer_ext[tokenizer]`.

    vocab: tokens in the order of their ids, a mapping of tokens to ids, or the path of a vocab.txt.
    words: "jieba" (first checkpoints) or "characters" (char, V2 and Sim): see `Segmenter`.
    do_lower_case, strip_accents: the normal form; strip_accents None follows do_lower_case.
    tokenize_chinese_chars: whether Chinese characters stand alone; only "characters" asks.
    additional_special_tokens: tokens of `vocab` that are special as well.
    whole_tokens: tokens of `vocab` found in a text as they stand, as special tokens are.
    model_max_length: the length to cut and pad to where a call names none; None for no limit.
    padding_side, truncation_side: "right" or "left".

    A row is `[CLS] A [SEP]`, of a pair `[CLS] A [SEP] B [SEP]` with token type 1 from B on.
    ValueError names the argument; ImportError the package that is missing.
    """

    model_input_names = ("input_ids", "token_type_ids", "attention_mask")

    def __init__(
        self,
        vocab: Mapping[str, int] | Sequence[str] | PathLike[str],
        *,
        words: str = "jieba",
        do_lower_case: bool = True,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool = True,
        unk_token: str = "[UNK]",
        sep_token: str = "[SEP]",
        pad_token: str = "[PAD]",
        cls_token: str = "[CLS]",
        mask_token: str | None = "[MASK]",
        additional_special_tokens: Sequence[str] = (),
        whole_tokens: Sequence[str] = (),
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
    ) -> None:
        if isinstance(vocab, (str, PathLike)):
            vocab = read_vocabulary(vocab)
        given = {"unk_token": unk_token, "sep_token": sep_token, "pad_token": pad_token}
        super().__init__(
            vocab,
            {**given, "cls_token": cls_token, "mask_token": mask_token},
            additional_special_tokens,
        )
        if words not in WORDS:
            raise ValueError(f"words must be one of {', '.join(WORDS)}, got {words!r}")
        flags = {"do_lower_case": do_lower_case, "tokenize_chinese_chars": tokenize_chinese_chars}
        for name, flag in {**flags, "strip_accents": strip_accents}.items():
            if not isinstance(flag, bool) and (name != "strip_accents" or flag is not None):
                raise ValueError(f"{name} must be True or False, got {flag!r}")
        for name, side in {
            "padding_side": padding_side,
            "truncation_side": truncation_side,
        }.items():
            if side not in SIDES:
                raise ValueError(f"{name} must be right or left, got {side!r}")
        unknown = [token for token in whole_tokens if token not in self._ids]
        if unknown:
            raise ValueError(f"whole_tokens must be in the vocabulary, got {unknown[0]!r}")
        self.words = words
        self.do_lower_case = do_lower_case
        self.strip_accents = strip_accents
        self.tokenize_chinese_chars = tokenize_chinese_chars
        self.whole_tokens = list(whole_tokens)
        self.model_max_length = model_max_length
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self._segmenter = Segmenter(
            self._ids,
            words=words,
            lowercase=do_lower_case,
            strip_accents=strip_accents,
            chinese_chars=tokenize_chinese_chars,
            unk_token=unk_token,
            whole={*self.all_special_tokens, *whole_tokens},
        )

    @classmethod
    def from_pretrained(
        cls, directory: str | PathLike[str], *, words: str | None = None, **settings: Any
    ) -> RoFormerTokenizer:
        """The tokenizer in a directory: vocab.txt or tokenizer.json, and tokenizer_config.json.

        words: None takes "jieba" for the class RoFormerTokenizer in the configuration and
            "characters" for BertTokenizer, and without a class decides by the vocabulary, which
            needs rjieba where it holds Chinese words of several characters.
        settings: other arguments of the constructor, which count before the files.
        """
        ids, found = read_directory(directory)
        known = {name: _content(found[name]) for name in SPECIAL if name in found}
        for name in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
            if name in found:
                known[name] = found[name]
        for name in ("padding_side", "truncation_side"):
            known[name] = found.get(name, "right")
        limit = found.get("model_max_length")
        # transformers writes 1e30 for no limit.
        if isinstance(limit, (int, float)) and 0 < limit < 1 << 40:
            known["model_max_length"] = int(limit)
        extra = found.get("additional_special_tokens") or found.get("extra_special_tokens") or ()
        extra = list(extra.values()) if isinstance(extra, dict) else extra
        if not isinstance(extra, (list, tuple)):
            raise ValueError(f"{directory} must list its special tokens, got {extra!r}")
        known["additional_special_tokens"] = [_content(token) for token in extra]
        name = str(found.get("tokenizer_class")).removesuffix("Fast")
        words = words or _CLASSES.get(name) or words_of(ids)
        return cls(ids, **{"words": words, "whole_tokens": found["whole"], **known, **settings})

    def save_pretrained(self, directory: str | PathLike[str]) -> tuple[str, ...]:
        """Writes what `from_pretrained` here and in transformers reads; the paths of the files.

        FileExistsError where `directory` is a file.
        """
        chosen = [name for name, words in _CLASSES.items() if words == self.words]
        settings = self._settings()
        for name in ("words", "whole_tokens"):
            settings.pop(name)
        settings["extra_special_tokens"] = settings.pop("additional_special_tokens")
        settings["tokenizer_class"] = chosen[0]
        if self.model_max_length is None:
            settings.pop("model_max_length")
        return write_directory(directory, self._tokens, settings, self._engine())

    def __call__(
        self,
        text: Any,
        text_pair: Any = None,
        *,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        **asked: Any,
    ) -> TokenBatch:
        """Token ids of one text or of a list of texts, and of pairs with `text_pair`.

        add_special_tokens (True): [CLS] and [SEP] around the texts.
        padding (False): True or "longest", or "max_length"; pad_to_multiple_of rounds up.
        truncation (None): True or "longest_first", "only_first", "only_second"; None cuts where
            max_length is given and nothing is padded. Without max_length and model_max_length
            nothing is cut: RoFormer takes any length.
        return_overflowing_tokens (False): what was cut off as further rows, which share `stride`
            (0) tokens with the row before, and `overflow_to_sample_mapping`.
        is_split_into_words (False): a text is a list of words; spans begin at each word.
        return_tensors (None): "pt" or "np"; else lists, without a batch for one text.
        return_token_type_ids, return_attention_mask (True), return_special_tokens_mask,
            return_offsets_mapping, return_length (False): the fields besides `input_ids`. An
            offset slices the caller's text; that of a special token is (0, 0).

        ValueError names the argument; TypeError for one that is not listed here.
        """
        request = Request(
            padding_side=self.padding_side if padding_side is None else padding_side,
            truncation_side=self.truncation_side if truncation_side is None else truncation_side,
            model_max_length=self.model_max_length,
            **{name: value for name, value in asked.items() if value is not None},
        )
        rows, single = examples(text, text_pair, request.is_split_into_words)
        marks = Marks(self.cls_token_id, self.sep_token_id, self.pad_token_id)
        batch = encoded(self._segmenter, marks, rows, request)
        if single and request.return_tensors is None and not request.return_overflowing_tokens:
            for name in batch.keys() - {"length"}:
                batch[name] = batch[name][0]
        return batch

    def tokenize(
        self, text: str, pair: str | None = None, add_special_tokens: bool = False
    ) -> list[str]:
        """The tokens of a text, or of a pair."""
        ids = self(text, pair, add_special_tokens=add_special_tokens)["input_ids"]
        tokens: list[str] = self.convert_ids_to_tokens(ids)
        return tokens

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """The `input_ids` alone of what a call with these arguments returns."""
        return self(text, text_pair, **options)["input_ids"]

    def pad(
        self,
        encoded: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool = True,
        return_tensors: str | None = None,
        padding_side: str | None = None,
    ) -> TokenBatch:
        """Pads rows that were made before: a list of mappings, or a mapping of lists or tensors.

        Fields that are not the tokenizer's (labels) are kept as they are. ValueError where the
        fields of an entry differ from the first, or a row is shorter than its `input_ids`.
        """
        fields, single = rows_of(encoded)
        lengths = [len(row) for row in fields["input_ids"]]
        if return_attention_mask and "attention_mask" not in fields:
            fields["attention_mask"] = [[1] * length for length in lengths]
        side = self.padding_side if padding_side is None else padding_side
        if side not in SIDES:
            raise ValueError(f"padding_side must be right or left, got {side!r}")
        limit = self.model_max_length if max_length is None else max_length
        length = padded_length(lengths, padding, limit, pad_to_multiple_of)
        fields = padded(fields, pad_id=self.pad_token_id, length=length, side=side)
        if single:
            fields = {name: value[0] for name, value in fields.items()}
        return TokenBatch(fields if return_tensors is None else as_tensors(fields, return_tensors))

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Special tokens in a row of one text, or of a pair."""
        return 3 if pair else 2

    def _settings(self) -> dict[str, Any]:
        """The arguments of the constructor besides the vocabulary."""
        return {**self._special, **{name: getattr(self, name) for name in _SETTINGS}}

    def __reduce__(self) -> Any:
        return _rebuilt, (type(self), self._tokens, self._settings())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={len(self)}, words={self.words!r})"

    def _engine(self) -> str:
        """The tokenizer.json of the package tokenizers, which knows all but the words of jieba."""
        package = needed("tokenizers")
        engine = package.Tokenizer(package.models.WordPiece(self._ids, unk_token=self.unk_token))
        engine.normalizer = package.normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.words == "characters" and self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )
        engine.pre_tokenizer = package.pre_tokenizers.BertPreTokenizer()
        cls, sep = self.cls_token, self.sep_token
        engine.post_processor = package.processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, self.cls_token_id), (sep, self.sep_token_id)],
        )
        engine.decoder = package.decoders.WordPiece(prefix="##")
        engine.add_special_tokens(self.all_special_tokens)
        engine.add_tokens(self.whole_tokens)
        text: str = engine.to_str()
        return text


def _rebuilt(
    kind: type[RoFormerTokenizer], tokens: list[str], settings: dict[str, Any]
) -> RoFormerTokenizer:
    return kind(tokens, **settings)


def _content(token: Any) -> Any:
    """The string of a token that a file may describe by an object."""
    return token.get("content") if isinstance(token, dict) else token
