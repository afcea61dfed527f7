"""Says aloud when this folder compared nothing, because transformers is not installed.

The one idea: skips of a whole suite drown among others, so the last lines of a run name it. What
must stay true: where transformers is installed this file says nothing.
"""

from __future__ import annotations

import importlib.util

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if importlib.util.find_spec("transformers") is None:
        text = "transformers is not installed: no parity was tested beyond the literal values"
        terminalreporter.write_line(text, yellow=True, bold=True)
