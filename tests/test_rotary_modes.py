"""RotaryEmbedding under the modes of torch: what is remembered must be an ordinary tensor.

A first call may come under inference mode, a `torch.func` level, fake tensors, a dispatch mode or
the capture of a CUDA graph, and each would leave a table behind that later calls cannot use.
"""

from __future__ import annotations

import pytest
import torch
from rotary_check import WIDTH, check, expected, qk
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from roformer_ext import RotaryEmbedding


def test_tables_outlive_the_mode_that_first_asked_for_them() -> None:
    rotary = RotaryEmbedding(WIDTH)
    with torch.inference_mode():
        check(rotary)
    q, k = qk(2, 3, 11)
    sum(y.sum() for y in rotary(q.requires_grad_(), k)).backward()

    for transform in (torch.func.grad, torch.func.functionalize, torch.func.hessian):
        rotary = RotaryEmbedding(WIDTH)
        transform(lambda x, rotate: torch.func.vmap(lambda x: rotate(x, x)[0])(x).sum())(
            q.detach(), rotary
        )
        check(rotary)
        rotary.tables(4)[0].numpy()

    for fresh_or_used in (RotaryEmbedding(WIDTH), rotary):
        with FakeTensorMode():
            assert fresh_or_used(*qk(2, 3, 11))[0].shape == q.shape
        check(fresh_or_used)

    rotary = RotaryEmbedding(WIDTH)
    assert rotary(q.to("meta"), k.to("meta"))[0].is_meta
    check(rotary)


class Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_every_run_under_a_dispatch_mode_is_alike() -> None:
    """Selective checkpointing pairs the operators of two runs by their order."""
    rotary, runs = RotaryEmbedding(WIDTH), []
    for _ in range(2):
        with Recorder() as recorder:
            check(rotary)
        runs.append(recorder.names)
        check(rotary)
    assert runs[0] == runs[1]


@pytest.mark.gpu
def test_nothing_waits_for_the_device() -> None:
    rotary = RotaryEmbedding(WIDTH, max_position=4)
    q = torch.randn(2, 3, 11, WIDTH, device="cuda")
    ids = torch.randint(0, 11, (2, 11), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        rotated = [
            rotary(q, q)[0],
            rotary(q, q, ids)[0],
            rotary(q, q, ids, exact=True)[0],
            rotary(q.repeat(1, 1, 3, 1), q)[1],
        ]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for y, wanted in zip(rotated, (expected(q), expected(q, ids), expected(q, ids), expected(q))):
        torch.testing.assert_close(y, wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.gpu
def test_tables_made_while_a_graph_is_captured_are_not_kept() -> None:
    rotary = RotaryEmbedding(WIDTH)
    q, graph = torch.randn(2, 3, 11, WIDTH, device="cuda"), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, _ = rotary(q, q)
    torch.testing.assert_close(rotary(q, q)[0], expected(q), atol=1e-6, rtol=1e-6)
    graph.replay()
    torch.testing.assert_close(y, expected(q), atol=1e-6, rtol=1e-6)
