"""A `RoFormerTokenizer` learned from a text, for a model that starts without one.

The one idea: the package tokenizers learns the vocabulary and RoFormerTokenizer reads with it, so
what was trained here reads like any other checkpoint. The package chooses among equally frequent
pieces by chance, so the same text does not always give the same vocabulary, and a training that is
to be taken up again must keep its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from loop.command import BadSetting
from roformer_ext import RoFormerTokenizer

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn(texts: Iterable[str], size: int) -> RoFormerTokenizer:
    """Lower-case word pieces of these texts, at most `size`; Chinese characters stand alone."""
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        raise BadSetting("word pieces need the package tokenizers, which is missing") from None
    engine = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=True)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=list(SPECIALS), show_progress=False
    )
    engine.train_from_iterator(texts, trainer)
    vocab = engine.get_vocab()
    return RoFormerTokenizer(sorted(vocab, key=vocab.__getitem__), words="characters")
