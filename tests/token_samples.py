"""A vocabulary, texts that are hard to divide, and the tokenizers of both libraries over them.

What must stay true: the vocabulary holds words that rjieba finds and their characters, and every
text of `TRICKY` has a property that a simpler tokenizer gets wrong.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import strategies as st

pytest.importorskip("tokenizers")
pytest.importorskip("rjieba")

from roformer_ext.tokenizer import RoFormerTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

SENTENCE = "永和服装饰品有限公司,今天天气非常好"

TEXT = """
永和 服装 饰品 有限公司 , 今 天 气 非常 好 公 司 有 限 。 ， hello hel ##lo wor ##ld 我 们 a b c d e
##a ##b ##c i ss ##s ｈｅ cafe caf ##e 2021 20 ##21 年 . ! - 😀 ᄀ ##ᅡ ##ᆨ ᅡ ᆨ ##我
\U0001d165 \U0001d16d
"""

WORDS = TEXT.split()

VOCABULARY = SPECIAL + WORDS

KINDS = {"jieba": "RoFormerTokenizer", "characters": "BertTokenizer"}

TRICKY = [
    SENTENCE,
    "",
    "  \t ",
    "cafe\u0301 a\r\n b",
    "Hello, WORLD!  2021年\u3000我们",
    "ｈｅllo ＨＥ",
    "a😀b \U0001f468\u200d\U0001f469",
    "İi ßSS ſs \u1e9e",
    "각 각",
    "a[MASK]b [mask] [CLS][SEP]x",
    "a\x00b\ufffdc\u200bd\xade",
    "\u0301e",
    "有限公司有限" * 30,
    "a" * 101 + " " + "b" * 100,
    "##a a##b 3.5% c++ C#",
    "\U0001d16d\U0001d165a \u302e\u0334",
]


def ours(words: str = "jieba", **settings: Any) -> RoFormerTokenizer:
    return RoFormerTokenizer(VOCABULARY, words=words, **settings)


def theirs(words: str = "jieba", **settings: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    ids = {token: place for place, token in enumerate(VOCABULARY)}
    # Its side of truncation is a setting of the constructor, as here.
    return getattr(transformers, KINDS[words])(ids, **settings)


texts = st.text(
    st.one_of(st.sampled_from("".join(WORDS) + " ,.![]#\t\n"), st.characters(codec="utf-8")),
    max_size=40,
) | st.lists(st.sampled_from([*VOCABULARY, *TRICKY, " "]), max_size=8).map("".join)


@cache
def pair(words: str) -> tuple[RoFormerTokenizer, Any]:
    """Ours and theirs, built once."""
    return ours(words), theirs(words)
