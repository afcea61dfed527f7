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


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each imports what it uses; they share a folder, because a later one loads what one saved."""
    pytest.importorskip("transformers", reason="one example is about its tools")
    monkeypatch.chdir(tmp_path)
    for number, example in enumerate(EXAMPLES, 1):
        # A file name of its own, because torch.compile looks for the source.
        exec(compile(example, f"README.md, example {number}", "exec"), {})
    assert (tmp_path / "encoder/model.safetensors").is_file()
