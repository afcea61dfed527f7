"""From a text to pieces of the vocabulary: normal form, words, WordPiece; and where each came from.

The idea: the normal form of a text is that of its characters one by one, so one table gives both
the form and the way back to the text, and what becomes of a word depends on the word alone and is
kept. What must stay true: the pieces are those of transformers' RoFormerTokenizer (words by
rjieba) and BertTokenizer (words by characters), and the span of a piece slices the caller's text.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, repeat
from typing import Any, NamedTuple
from unicodedata import combining

WORDS = ("jieba", "characters")
# Words whose pieces are kept at a time, and the longest that is kept.
_KEPT, _LONGEST = 200_000, 64


def needed(name: str) -> Any:
    """The package of the optional extra `tokenizer`; ImportError says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"the tokenizer needs {name}, which does not import ({error}): "
            "pip install 'roformer_ext[tokenizer]'"
        ) from None


class Pieces(NamedTuple):
    """What a text became: for each piece its id, its span in the text and the count of its word."""

    ids: list[int]
    spans: list[tuple[int, int]]
    words: list[int]


class _Word(NamedTuple):
    """The pieces of one word; spans and counts begin at the word."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]


class _Table(dict[int, str]):
    """For `str.translate`: what a character becomes, computed when it is first met."""

    def __init__(self, form: Callable[[str], str]) -> None:
        super().__init__()
        self.form = form
        self.uneven: set[str] = set()
        """Characters that do not become exactly one."""
        self.marks: set[str] = set()
        """Characters that leave a mark which the normal form of a text may reorder."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if 0xD800 <= code < 0xE000:
            raise ValueError(f"text must be Unicode, got the lone surrogate U+{code:04X}")
        form = self.form(character)
        # The sets first: another thread that finds the entry relies on them.
        if len(form) != 1:
            self.uneven.add(character)
        if any(map(combining, form)):
            self.marks.add(character)
        self[code] = form
        return form


class Segmenter:
    """Divides texts into pieces of a vocabulary.

    ids: the id of each token.
    words: "jieba": a word that rjieba finds (HMM off) stays whole where it is in the vocabulary,
        and is divided into its Chinese characters and what stands between them where it is not.
        "characters": white space, punctuation and Chinese characters divide.
    lowercase, strip_accents: the normal form; strip_accents None follows lowercase.
    chinese_chars: whether Chinese characters divide; only "characters" asks.
    unk_token: what becomes of a word that the vocabulary cannot spell.
    whole: tokens that are found in the text as it stands, before anything else, longest first.

    May be used from several threads at a time.
    """

    def __init__(
        self,
        ids: dict[str, int],
        *,
        words: str,
        lowercase: bool,
        strip_accents: bool | None,
        chinese_chars: bool,
        unk_token: str,
        whole: Iterable[str],
    ) -> None:
        bert = needed("tokenizers.normalizers").BertNormalizer
        self._normal = bert(True, False, strip_accents, lowercase).normalize_str
        self._spaced = bert(False, chinese_chars or words == "jieba", False, False).normalize_str
        self._probe = needed("tokenizers.pre_tokenizers").BertPreTokenizer().pre_tokenize_str
        self._spell = needed("tokenizers.models").WordPiece(ids, unk_token=unk_token).tokenize
        self._vocabulary = ids
        self._forms = _Table(self._normal)
        self._apart = _Table(self._set_apart)
        self._jieba = needed("rjieba").cut if words == "jieba" else None
        self._known: dict[str, _Word] = {}
        longest = sorted(whole, key=len, reverse=True)
        # Without any: a pattern that matches nowhere.
        self._whole = re.compile(f"({'|'.join(map(re.escape, longest)) or '(?!)'})")

    def ids(self, text: str) -> list[int]:
        """The ids of a text; `pieces` without the rest, and several times as fast."""
        ids: list[int] = []
        for place, stretch in enumerate(self._whole.split(text)):
            if place % 2:
                ids.append(self._vocabulary[stretch])
            elif stretch:
                found = map(self._pieces_of, self._words(self._normalised(stretch)))
                ids += chain.from_iterable(word.ids for word in found)
        return ids

    def pieces(self, text: str) -> Pieces:
        """The ids of a text, their spans in it, and the count of the word that each is part of."""
        result = Pieces([], [], [])
        begin = count = 0
        for place, stretch in enumerate(self._whole.split(text)):
            if place % 2:
                result.ids.append(self._vocabulary[stretch])
                result.spans.append((begin, begin + len(stretch)))
                result.words.append(count)
                count += 1
            elif stretch:
                count = self._append(result, stretch, begin, count)
            begin += len(stretch)
        return result

    def _append(self, result: Pieces, stretch: str, begin: int, count: int) -> int:
        """Adds the pieces of a stretch without whole tokens; the count of words after it."""
        normal = self._normalised(stretch)
        spans: list[tuple[int, int]] = []
        at = 0
        for text in self._words(normal):
            ids, own, counts = self._pieces_of(text)
            if not ids:
                continue
            # Between two words there is only white space, and none begins with it.
            at = normal.index(text, at)
            if len(ids) == 1:  # Most words; worth the shorter way.
                result.ids.append(ids[0])
                spans.append((at, at + len(text)))
                result.words.append(count)
            else:
                result.ids.extend(ids)
                spans.extend([(at + first, at + last) for first, last in own])
                result.words.extend([count + part for part in counts])
            count += counts[-1] + 1
            at += len(text)
        if not self._forms.uneven.isdisjoint(stretch):
            lengths = (len(self._forms[ord(character)]) for character in stretch)
            origin = list(chain.from_iterable(map(repeat, range(len(stretch)), lengths)))
            spans = [(origin[first], origin[last - 1] + 1) for first, last in spans]
        if begin:
            spans = [(begin + first, begin + last) for first, last in spans]
        result.spans.extend(spans)
        return count

    def _normalised(self, text: str) -> str:
        form = text.translate(self._forms)
        if self._forms.marks.isdisjoint(text):
            return form
        ordered: str = self._normal(text)
        return ordered

    def _words(self, normal: str) -> list[str]:
        """The words in order; all that is left out, or is a word without pieces, is white space."""
        if self._jieba is None:
            return normal.translate(self._apart).split()
        words: list[str] = self._jieba(normal, False)
        return words

    def _set_apart(self, character: str) -> str:
        """A character with spaces around it where it is a word of its own."""
        # White space leaves the two letters apart, punctuation stands as a third word.
        if len(self._probe(f"a{character}a")) == 3:
            return f" {character} "
        spaced: str = self._spaced(character)
        return spaced

    def _pieces_of(self, word: str) -> _Word:
        found = self._known.get(word)
        if found is None:
            found = self._spelled(word)
            if len(word) <= _LONGEST:
                if len(self._known) >= _KEPT:
                    self._known.clear()
                self._known[word] = found
        return found

    def _spelled(self, word: str) -> _Word:
        parts = [word]
        if self._jieba is not None and word not in self._vocabulary:
            parts = self._spaced(word).split()
        ids, spans, counts = [], [], []
        at = 0
        for count, part in enumerate(parts):
            at = word.index(part, at)
            for token, (first, last) in self._tokens(part):
                ids.append(token)
                spans.append((at + first, at + last))
                counts.append(count)
            at += len(part)
        return _Word(tuple(ids), tuple(spans), tuple(counts))

    def _tokens(self, part: str) -> Iterator[tuple[int, tuple[int, int]]]:
        """WordPiece of one part; the package counts in bytes of UTF-8, the spans in characters."""
        raw = part.encode()
        for token in self._spell(part):
            first, last = token.offsets
            yield token.id, (len(raw[:first].decode()), len(raw[:last].decode()))


def words_of(ids: Mapping[str, int]) -> str:
    """How a vocabulary wants words found: "jieba" where it has words of several Chinese letters."""
    chinese = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]{2}")
    return "jieba" if any(map(chinese.match, ids)) else "characters"
