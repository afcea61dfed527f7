"""RotaryEmbedding in graphs: one graph for all lengths, whatever the remembered table holds.

Graphs make their own tables, so nothing eager (growth between two calls) may cause a recompile, no
exported program may carry a table or a limit, and sharing a look-up must share its sines.
"""

from __future__ import annotations

import pytest
import torch
from rotary_check import TABLE_ROWS, WIDTH, check, expected, qk
from torch._dynamo.testing import CompileCounterWithBackend
from torch._inductor.utils import run_and_get_code

from roformer_ext import RotaryEmbedding, reference


@pytest.mark.parametrize("dynamic", [False, True, None])
@pytest.mark.parametrize("with_ids", [False, True])
def test_compiles_to_one_graph_that_ignores_the_tables_length(dynamic, with_ids: bool) -> None:
    torch.compiler.reset()
    rotary = RotaryEmbedding(WIDTH, max_position=8)
    counter = CompileCounterWithBackend("inductor")
    compiled = torch.compile(rotary, fullgraph=True, dynamic=dynamic, backend=counter)
    for length in (9,) * 3 if dynamic is False else (9, 17, 33):
        ids = torch.randint(-1, TABLE_ROWS, (2, length)) if with_ids else None
        check(compiled, length, ids, tolerance=1e-5)
        check(rotary, 3 * length)
    assert counter.frame_count == (2 if dynamic is None else 1)


def test_compiled_packed_form_trains() -> None:
    torch.compiler.reset()
    rotary = RotaryEmbedding(WIDTH)
    gradients = []
    x, gradient = torch.randn(2, 5, 3, 4, WIDTH), torch.randn(2, 5, 3, 4, WIDTH)
    for compiled in (False, True):
        leaf = x.clone().requires_grad_()

        def step(leaf):
            return rotary.rotate_packed_(leaf * 2)

        if compiled:
            step = torch.compile(step, fullgraph=True)
        step(leaf).backward(gradient)
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("with_ids", [False, True])
def test_exports_without_a_limit_on_the_length(strict: bool, with_ids: bool) -> None:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    dims = {"q": {0: batch, 2: length}, "k": {0: batch, 2: length}}
    arguments = qk(2, 3, 9)
    if with_ids:
        arguments += (torch.arange(9).expand(2, 9),)
        dims["position_ids"] = {0: batch, 1: length}
    rotary = RotaryEmbedding(WIDTH, max_position=4)
    program = torch.export.export(rotary, arguments, dynamic_shapes=dims, strict=strict)
    assert not program.state_dict
    assert not program.constants
    ids = (torch.randint(-1, TABLE_ROWS, (5, 70)),) if with_ids else ()
    for x, y in zip(pair := qk(5, 3, 70), program.module()(*pair, *ids)):
        torch.testing.assert_close(y, expected(x, *ids), atol=1e-5, rtol=1e-5)


def test_a_table_is_computed_once_per_graph() -> None:
    """Inductor must neither inline sines into what reads them nor repeat them per layer."""
    rotary = RotaryEmbedding(WIDTH)

    def layers(q: torch.Tensor, packed: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
        rows = rotary.lookup(q.shape[-2], device=q.device)
        for _ in range(count):
            # The plain form fuses with its neighbours, the operator does not.
            q = reference.pair_form(q.flip(0), rows.cos, rows.sin).cumsum(0)
            packed = rotary.rotate_packed_(packed * 2, rows)
        return q, packed

    sines = []
    for count in (1, 3):
        torch.compiler.reset()
        compiled = torch.compile(layers, fullgraph=True)
        arguments = torch.randn(2, 3, 5, WIDTH), torch.randn(2, 5, 3, 4, WIDTH), count
        _, code = run_and_get_code(compiled, *arguments)
        sines.append("".join(code).count("sin("))
    assert sines[0] == sines[1] > 0
