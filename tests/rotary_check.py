"""What the suites of RotaryEmbedding share: rotate once and compare with tables made elsewhere.

`check` is the one assertion: any promise (casts, copies, growth, far positions, graphs) is tested
by doing the thing and rotating once more. `reference` makes its own tables, in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from roformer_ext import reference

WIDTH = 16
TABLE_ROWS = 5000


def qk(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    q, k = (torch.randn(*shape, WIDTH).to(dtype) for _ in range(2))
    return q, k


def expected(
    x: Tensor,
    position_ids: Tensor | None = None,
    *,
    seq_dim: int = -2,
    heads: int | None = None,
) -> Tensor:
    tables = (table.to(x.device) for table in reference.tables(TABLE_ROWS, WIDTH))
    return reference.rope(x, *tables, position_ids, interleaved=True, seq_dim=seq_dim, heads=heads)


def check(
    rotate: Callable[..., tuple[Tensor, Tensor]],
    length: int = 11,
    position_ids: Tensor | None = None,
    *,
    tolerance: float = 0.0,
    **options: bool,
) -> None:
    """Two rotated [2, 3, length, WIDTH] tensors equal the reference, to the bit unless told."""
    for x, y in zip(pair := qk(2, 3, length), rotate(*pair, position_ids, **options)):
        torch.testing.assert_close(y, expected(x, position_ids), atol=tolerance, rtol=tolerance)
