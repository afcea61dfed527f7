"""What the fine-tuning script is made of: files, metrics, rows, and answers in passages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts_path import importable

pytest.importorskip("tokenizers")

with importable():
    from finetuning import examples, squad, table
    from finetuning.answers import Answers, likeliest
    from finetuning.examples import Question, Sentences
    from finetuning.sentences import Classification, Regression, is_regression
    from finetuning.task import Row
    from loop import wordpiece
    from loop.command import BadSetting

CONTEXT = "Anna met Bob in Paris. Bob met Carl in Rome; Carl met Anna in Oslo."


@pytest.fixture(scope="module")
def tokenizer() -> Iterator[Any]:
    yield wordpiece.learn([CONTEXT, "who met whom where?"] * 3, 200)


def saved(folder: Path, text: str, name: str = "some.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "columns", "guessed"),
    [
        ("a b,c d,3.5\ne,f,1\n", ("1", "2", "3"), ["1", "2", "3"]),
        ("a b,yes\nc d,no\n", ("1", "2"), ["1", "2"]),
        ("Score,Sentence2,id,sentence1\n1,b,7,a\n", ("score", "sentence2", "id", "sentence1"),
         ["sentence1", "sentence2", "score"]),
        ("label,text\nx,a\n", ("label", "text"), ["text", "label"]),
        ("one,two,three\na,b,1\nc,d,2\n", ("one", "two", "three"), ["one", "two", "three"]),
        ("id,question,context,answer\n1,q,c,c\n", ("id", "question", "context", "answer"),
         ["question", "context", "answer"]),
        ('"a\nb","c, d",0\n\n"e ""f""",g,1\n', ("1", "2", "3"), ["1", "2", "3"]),
    ],
)  # fmt: skip
def test_says_which_column_is_what(
    tmp_path: Path, text: str, columns: tuple[str, ...], guessed: list[str]
) -> None:
    found = table.read(saved(tmp_path, text))
    assert found.columns == columns
    assert table.guess(found) == guessed


def test_reads_quotes_line_breaks_marks_and_tabs(tmp_path: Path) -> None:
    found = table.read(saved(tmp_path, '\ufeff"a\nb","c, d",0\r\n\r\n"e ""f""",g,1\r\n'))
    assert found.rows == [["a\nb", "c, d", "0"], ['e "f"', "g", "1"]]
    found = table.read(saved(tmp_path, "a, b\tc\n", "some.tsv"))
    assert found.rows == [["a, b", "c"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b,1\nc,2\n", "must have 3 cells in every row, got 2 in the row that ends on line 2"),
        (b"", "must hold at least one example, got none"),
        (b"text,label\n", "must hold at least one example, got none"),
        (b"a,b,1,x\nc,d,2,y\n", "--columns must say where the texts and the label of"),
        (b"a,\xff,1\n", "must be UTF-8"),
        (b'a,"b\n', "must be a CSV file, got"),
        (b"a,b\x00,1\n", ""),
    ],
)
def test_a_file_that_is_no_table_is_one_sentence(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(content)
    if not message:  # A zero byte is a character like others from Python 3.11 on.
        examples.read(path, None, None)
        return
    with pytest.raises(BadSetting) as caught:
        examples.read(path, None, None)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "regression"),
    [
        (["1.0", "2.5"], True),
        (["0", "1", "1"], False),
        (["yes", "1.5"], False),
        ([str(number) for number in range(40)], True),
        (["-1", "+1"], False),
        (["nan", "1.0"], False),
    ],
)
def test_tells_measures_from_classes(labels: list[str], regression: bool) -> None:
    assert is_regression([Sentences("a", None, label) for label in labels]) is regression


def test_a_group_is_not_divided_between_training_and_dev() -> None:
    every = [Question("q", f"context {place % 12}", (), None) for place in range(60)]
    train, dev = examples.split(every, 0)
    assert len(train) + len(dev) == 60 and len(dev) == 5
    assert not {each.context for each in train} & {each.context for each in dev}
    assert examples.split(every, 0) == (train, dev)
    assert examples.split(every, 1) != (train, dev)
    with pytest.raises(BadSetting, match="two different examples"):
        examples.split(every[:1] * 3, 0)


def test_reads_the_layout_of_squad(tmp_path: Path) -> None:
    asked = {
        "question": "who?",
        "answers": [
            {"text": "Bob", "answer_start": 9},
            {"text": "Anna", "answer_start": 0},
            {"text": "Bob", "answer_start": 24},
        ],
    }
    none = {"question": "why?", "answers": [], "is_impossible": True}
    paragraph = {"context": CONTEXT, "qas": [asked, none]}
    content = {"version": "1", "data": [{"title": "t", "paragraphs": [paragraph]}]}
    found = squad.read(saved(tmp_path, json.dumps(content), "some.json"))
    assert found == [("who?", CONTEXT, ("Bob", "Anna"), 9), ("why?", CONTEXT, (), None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "must be JSON, got"),
        ("[" * 100_000, "must be JSON, got"),
        ("[]", "must have the layout of SQuAD, got"),
        ('{"data": [{"paragraphs": [{"context": "c"}]}]}', "must have the layout of SQuAD, got"),
        ('{"data": []}', "must hold at least one example"),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": '
         '[{"text": "no", "answer_start": 0}]}]}]}]}', "got 'no'"),
    ],
)  # fmt: skip
def test_another_json_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSetting) as caught:
        squad.read(saved(tmp_path, text, "some.json"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("max_length", [14, 20, 64])
def test_targets_are_the_answer(tokenizer: Any, max_length: int) -> None:
    """Every word as an answer: a window that holds it all points at it, others at [CLS]."""
    for word in ("Anna", "Bob met Carl", "Oslo", "in Rome; Carl"):
        asked = Question("who met whom?", CONTEXT, (word,), CONTEXT.index(word))
        task = Answers(tokenizer, max_length, [asked])
        rows = task.rows([asked])
        held = 0
        for row in rows:
            start, stop = row.targets["start_positions"], row.targets["end_positions"]
            if (start, stop) != (0, 0):
                held += 1
                shown = CONTEXT[row.spans[int(start)][0] : row.spans[int(stop)][1]]
                assert shown == word
        assert held >= 1
        assert (len(rows) > 1) == (max_length < 64)


def test_the_likeliest_answer_is_the_best_allowed_pair(tokenizer: Any) -> None:
    """Against a search through all pairs."""
    asked = Question("who met whom?", CONTEXT, ("Bob",), 9)
    (row,) = Answers(tokenizer, 64, [asked]).rows([asked])
    inside = [place for place, (start, stop) in enumerate(row.spans) if stop > start]
    for seed in range(20):
        random = torch.Generator().manual_seed(seed)
        output = torch.randn(2, len(row) + 3, generator=random)
        pairs = [(place, place) for place in inside] + list(combinations(inside, 2))
        first, last = max(pairs, key=lambda pair: float(output[0, pair[0]] + output[1, pair[1]]))
        score, start, stop = likeliest(row, output)
        assert score == pytest.approx(float(output[0, first] + output[1, last]))
        assert (start, stop) == (row.spans[first][0], row.spans[last][1])


def test_the_surest_window_answers(tokenizer: Any) -> None:
    asked = Question("who?", CONTEXT, ("Bob",), 9)
    task = Answers(tokenizer, 16, [asked])
    rows = task.rows([asked])
    for surest, row in enumerate(rows):
        outputs = [torch.zeros(2, len(each)) for each in rows]
        place = row.spans.index(next(span for span in row.spans if span[1]))
        outputs[surest][:, place] = 9.0
        start, stop = row.spans[place]
        assert task.predictions([asked], rows, outputs) == [CONTEXT[start:stop]]


def test_no_answer_needs_every_window(tokenizer: Any) -> None:
    asked = Question("why?", CONTEXT, (), None)
    task = Answers(tokenizer, 16, [asked])
    rows = task.rows([asked])
    assert len(rows) > 1
    outputs = [torch.zeros(2, len(row)) for row in rows]
    for output in outputs:
        output[:, 0] = 5.0
    assert task.predictions([asked], rows, outputs) == [""]
    outputs[1][:, 0] = -5.0
    assert task.predictions([asked], rows, outputs) != [""]
    certain = Answers(tokenizer, 16, [Question("who?", CONTEXT, ("Bob",), 9)])
    outputs[1][:, 0] = 5.0
    assert certain.predictions([asked], rows, outputs) != [""]


def test_a_question_without_room_for_its_passage(tokenizer: Any) -> None:
    asked = Question("who met whom where? " * 5, CONTEXT, ("Bob",), 9)
    with pytest.raises(BadSetting, match="--max-length must leave room for the passage"):
        Answers(tokenizer, 12, [asked]).rows([asked])


def test_constants(tokenizer: Any) -> None:
    """The mean, the commonest class, the commonest answer."""
    numbers = [Sentences("a", "b", label) for label in ("1", "2", "6")]
    name, scores = Regression(tokenizer, 16, numbers).baseline(numbers)
    assert name.startswith("always 3.00") and scores["MSE"] == pytest.approx(14 / 3)
    classes = [Sentences("a", None, label) for label in ("x", "y", "y", "y")]
    name, scores = Classification(tokenizer, 16, classes).baseline(classes)
    assert name.startswith("always y") and scores["accuracy"] == 0.75
    words = ("Bob", "Bob", "Rome")
    asked = [Question("q", CONTEXT, (word,), CONTEXT.index(word)) for word in words]
    name, scores = Answers(tokenizer, 16, asked).baseline(asked)
    assert name.startswith("always 'Bob'") and scores["exact match"] == pytest.approx(2 / 3)


def test_regression_starts_at_the_mean(tokenizer: Any) -> None:
    from roformer_ext import RoFormerConfig, RoFormerForSequenceClassification

    numbers = [Sentences("a", "b", label) for label in ("1", "2", "6")]
    task = Regression(tokenizer, 16, numbers)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = RoFormerForSequenceClassification(
        RoFormerConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes, **task.changes)
    ).eval()
    task.start(model)
    assert model(torch.tensor([[2, 7, 3]])).logits.item() == pytest.approx(3, abs=0.05)


def test_rows_are_what_the_tokenizer_says(tokenizer: Any) -> None:
    task = Regression(tokenizer, 6, [Sentences("a", "b", "1")])
    (row,) = task.rows([Sentences("Anna met Bob", "Bob met Anna", "2.5")])
    assert row == Row(
        {
            "input_ids": tokenizer("Anna met Bob", "Bob met Anna", max_length=6)["input_ids"],
            "token_type_ids": [0, 0, 0, 1, 1, 1],
        },
        {"labels": 2.5},
        0,
    )
    assert len(row) == 6 and row.inputs["input_ids"].count(tokenizer.sep_token_id) == 2
