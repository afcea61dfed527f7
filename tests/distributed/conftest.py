"""The two processes of this folder's tests, and word of what is missing where they cannot run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
import torch.distributed as dist

sys.path.insert(0, os.path.dirname(__file__))

from ranks import Ranks


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    if not dist.is_available() or not dist.is_gloo_available():
        pytest.skip("needs torch.distributed with gloo")
    both = Ranks()
    yield both
    both.stop()
