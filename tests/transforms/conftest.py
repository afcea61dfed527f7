"""What holds for every test of a transform: vmap finds the operator's own batching rule.

Without a rule torch loops over the batch, with the right result and a warning; here that warning
is an error, so no test of this folder can pass by the loop.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_fallback() -> Iterator[None]:
    """A batching rule is there: vmap's loop of last resort, which warns, is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*batching rule for roformer_ext.*")
        yield
