"""The scripts as modules: they find their parts beside themselves, as when they are run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@contextmanager
def importable() -> Iterator[None]:
    """Inside, `import train_mlm` and the like work."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield
    finally:
        sys.path.remove(str(SCRIPTS))
