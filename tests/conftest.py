"""What all suites share: devices, samples, threads, and the hypothesis profile.

The `device` fixture runs a test on the CPU and, where there is one, on CUDA. Tests marked `gpu`
are skipped without one, and a last line says so, so that a run without a GPU cannot be mistaken
for a full one. Hypothesis is derandomised: the same tree gives the same examples everywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import torch
from samples import SAMPLES, Sample

hypothesis.settings.register_profile(
    "suite",
    derandomize=True,
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

_NO_GPU = "needs a CUDA device, and torch sees none"
_END = "ROFORMER_EXT_TESTS_END"
_PROGRAMS = ("test_fill_mask", "test_export", "test_onnx", "test_train_mlm")
_DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def pytest_configure(config: pytest.Config) -> None:
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason=_NO_GPU))
    # Where time may run out, whole programs and files for them come before sweeps of cases.
    if _END in os.environ:
        items.sort(key=lambda item: not item.path.name.startswith(_PROGRAMS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not torch.cuda.is_available():
        terminalreporter.write_line(f"CPU only: every GPU test {_NO_GPU}", yellow=True, bold=True)


@pytest.fixture(params=_DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    """Every device of this machine that the operator has kernels for."""
    return torch.device(request.param)


@pytest.fixture(params=SAMPLES.values(), ids=SAMPLES.keys())
def sample(request: pytest.FixtureRequest) -> Sample:
    """Every named case, one test each."""
    return request.param


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """A setter for the number of intra-op threads, undone after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def generator() -> torch.Generator:
    """A freshly seeded generator on the CPU."""
    return torch.Generator().manual_seed(20210420)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What has not begun by `_END`, in seconds since 1970, is skipped, loudly."""
    end = os.environ.get(_END)
    if end is not None and time.time() > float(end):
        pytest.skip(f"no time left for it: {_END} has passed")
