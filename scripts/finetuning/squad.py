"""A JSON file in the layout of SQuAD: data, paragraphs, qas, answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loop.command import BadSetting

Found = tuple[str, str, tuple[str, ...], int | None]


def read(path: Path) -> list[Found]:
    """(question, context, answers, where the first begins) of every question in the file.

    BadSetting where the file cannot be read, is not of this layout, or an answer does not stand
    where it is said to.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise BadSetting(f"{path} must be a readable file ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise BadSetting(f"{path} must be JSON, got {error}") from None
    try:
        found = [
            _question(path, paragraph["context"], each)
            for article in content["data"]
            for paragraph in article["paragraphs"]
            for each in paragraph["qas"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadSetting(f"{path} must have the layout of SQuAD, got {error!r}") from None
    if not found:
        raise BadSetting(f"{path} must hold at least one example, got none")
    return found


def _question(path: Path, context: str, entry: dict[str, Any]) -> Found:
    answers = [] if entry.get("is_impossible") else entry["answers"]
    if not answers:
        return entry["question"], context, (), None
    texts = tuple(dict.fromkeys(answer["text"] for answer in answers))
    start = answers[0]["answer_start"]
    if not context.startswith(texts[0], start):
        start = context.find(texts[0])
    if start < 0:
        raise BadSetting(f"{path} must have answers that stand in their context, got {texts[0]!r}")
    return entry["question"], context, texts, start
