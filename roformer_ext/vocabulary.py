"""The files of a tokenizer: its vocabulary and the settings beside it, read and written.

The idea: a vocabulary is a list of different strings and an id is a place in it, whichever file
says so: vocab.txt with a token on each line, or the tokenizer.json that transformers writes, with
tokens that were added later at the end. What must stay true: files that leave an id in doubt are
refused in one sentence, and what is written reads back the same, here and in transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

VOCABULARY, SETTINGS, WHOLE = "vocab.txt", "tokenizer_config.json", "tokenizer.json"
_OLDER_SETTINGS, _ADDED = "special_tokens_map.json", "added_tokens.json"


def ids_of(vocab: Mapping[str, int] | Sequence[str], source: str = "vocab") -> dict[str, int]:
    """The id of each token, in the order of the ids.

    vocab: the tokens in order, or a mapping of tokens to the ids 0 .. n-1. ValueError, which names
    `source`, where a token is empty, holds a line break or stands twice, or an id is missing.
    """
    if isinstance(vocab, Mapping):
        places: list[str | None] = [None] * len(vocab)
        for token, place in vocab.items():
            if type(place) is not int or not 0 <= place < len(vocab) or places[place] is not None:
                raise ValueError(
                    f"{source} must give its {len(vocab)} tokens the ids 0 to {len(vocab) - 1}, "
                    f"each once, got {place!r} for {token!r}"
                )
            places[place] = token
        vocab = [token for token in places if token is not None]
    ids: dict[str, int] = {}
    for place, token in enumerate(vocab):
        if not isinstance(token, str) or not token:
            raise ValueError(
                f"{source} must hold a token at every place, got {token!r} at id {place}"
            )
        if "\n" in token or "\r" in token:
            raise ValueError(f"{source} must hold one token on a line, got {token!r} at id {place}")
        if ids.setdefault(token, place) != place:
            raise ValueError(
                f"{source} must hold each token once, got {token!r} at ids {ids[token]} and {place}"
            )
    if not ids:
        raise ValueError(f"{source} must hold at least one token, got none")
    return ids


def read_vocabulary(path: str | PathLike[str]) -> dict[str, int]:
    """The tokens of a vocab.txt, UTF-8 with one on each line, and their ids.

    A byte order mark at the beginning and carriage returns at the ends of all lines are no part
    of the tokens. ValueError as `ids_of` raises it, and where a byte is not UTF-8.
    """
    raw = Path(path).read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} must be UTF-8, got byte 0x{raw[error.start]:02x} at {error.start}, line {line}"
        ) from None
    lines = text.removesuffix("\n").split("\n")
    if text.endswith("\r\n") and all(line.endswith("\r") for line in lines):
        lines = [line[:-1] for line in lines]
    return ids_of(lines if text else [], str(path))


def read_directory(directory: str | PathLike[str]) -> tuple[dict[str, int], dict[str, Any]]:
    """The vocabulary in a directory, added tokens at its end, and the settings of its tokenizer.

    Reads vocab.txt, tokenizer.json, or both where they agree, and the settings that there are.
    Under "whole" the settings name the added tokens, which are never divided in a text.
    FileNotFoundError without a vocabulary; ValueError where a file is not what it should be.
    """
    home = Path(directory)
    older, settings = (_read_json(home / name) for name in (_OLDER_SETTINGS, SETTINGS))
    settings = {**older, **settings}
    engine = _read_json(home / WHOLE)
    ids: dict[str, int] = {}
    if engine:
        ids = _engine_vocabulary(engine, str(home / WHOLE))
        normalizer = engine.get("normalizer")
        if isinstance(normalizer, dict) and normalizer.get("type") == "BertNormalizer":
            settings.setdefault("do_lower_case", normalizer.get("lowercase", True))
            settings.setdefault("strip_accents", normalizer.get("strip_accents"))
    if (home / VOCABULARY).is_file():
        listed = read_vocabulary(home / VOCABULARY)
        for (token, place), other in zip(listed.items(), ids):
            if token != other:
                raise ValueError(
                    f"{home / VOCABULARY} and {WHOLE} must agree, "
                    f"got {token!r} and {other!r} for id {place}"
                )
        ids = max(listed, ids, key=len)
    elif not engine:
        raise FileNotFoundError(f"{home} must hold {VOCABULARY} or {WHOLE}, got neither")
    whole = []
    for place, token in sorted(_added(home, engine, settings)):
        if ids.get(token, len(ids)) != place:
            raise ValueError(
                f"{home} must add tokens after the {len(ids)} of its vocabulary, "
                f"got {token!r} with id {place}"
            )
        ids[token] = place
        whole.append(token)
    return ids, {**settings, "whole": whole}


def write_directory(
    directory: str | PathLike[str],
    tokens: Sequence[str],
    settings: Mapping[str, Any],
    engine: str,
) -> tuple[str, ...]:
    """Writes vocab.txt, tokenizer_config.json and the tokenizer.json in `engine`; their paths."""
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    contents = {
        VOCABULARY: "".join(f"{token}\n" for token in tokens),
        SETTINGS: json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n",
        WHOLE: engine + "\n",
    }
    for name, content in contents.items():
        (home / name).write_text(content, encoding="utf-8", newline="\n")
    return tuple(str(home / name) for name in contents)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON object, got {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must be a JSON object, got {type(found).__name__}")
    return found


def _engine_vocabulary(engine: Mapping[str, Any], source: str) -> dict[str, int]:
    model = engine.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict) or model.get("type", "WordPiece") != "WordPiece":  # type: ignore[union-attr]
        raise ValueError(f"{source} must hold a WordPiece model with its vocab, got another")
    return ids_of(vocab, source)


def _added(
    home: Path, engine: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[tuple[int, str]]:
    """(id, token) of every token that a file declares beside the vocabulary."""
    try:
        found = [(each["id"], each["content"]) for each in engine.get("added_tokens") or ()]
        decoder = settings.get("added_tokens_decoder") or {}
        found += [(int(place), each["content"]) for place, each in decoder.items()]
        found += [(place, token) for token, place in _read_json(home / _ADDED).items()]
        for place, token in set(found):
            if type(place) is not int or place < 0 or not isinstance(token, str) or not token:
                raise ValueError(f"{token!r} with id {place!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{home} must declare added tokens by a string and an id, got {error}"
        ) from None
    return iter(set(found))
