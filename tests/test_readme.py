"""The README's Python examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples() -> None:
    """A change of the README's form must not leave this file without anything to run."""
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example(number: int) -> None:
    """Each example is whole: it imports what it uses."""
    # A file name of its own, because torch.compile looks for the source.
    exec(compile(EXAMPLES[number], f"README.md, example {number + 1}", "exec"), {})
