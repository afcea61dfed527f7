"""RotaryEmbedding: the module that owns frequencies, tables and positions.

One idea: a table is a function of a few numbers, so the module keeps the numbers and only remembers
tables. They are neither parameters nor buffers: no cast, `to_empty`, meta construction, copy, save
or sharding can reach them, and one that is missing is built again. What must stay true: angles in
float64, one rounding to float32, nothing read back from a device, and no remembered table inside a
compiled or exported graph (Note [Tables under the compiler]).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .ops import rope, rope_


class Rows(NamedTuple):
    """What `rope` takes after x, as in `rope(x, *rows, ...)`."""

    cos: Tensor
    sin: Tensor
    position_ids: Tensor | None


class RotaryEmbedding(nn.Module):
    """Rotary positions for heads of width `head_dim` (arXiv 2104.09864, Eq. 14 and 15).

    Pair i at position p turns by `p / factor * base**(-2i / head_dim)`. Without position ids the
    index along the sequence is the position, and the table grows as needed. With ids the table
    reaches up to `max_position`, and with `exact=True` rows are computed from the ids themselves,
    for positions up to 2**31. An id of -1 leaves its token alone, bit for bit.

    head_dim: even; heads may be wider, their other channels pass through.
    interleaved: adjacent pairs (RoFormer) or, when False, halves (GPT-NeoX).
    max_position: rows of the table; a host number that only grows, to the longest sequence seen.
    dtype: of the tables, float32 or float64, whatever dtype the module is converted to.
    device: where to build a table of `max_position` rows now; None leaves it to the first call.
    factor: positions are divided by it (linear interpolation).
    """

    def __init__(
        self,
        head_dim: int,
        *,
        base: float = 10000.0,
        interleaved: bool = True,
        max_position: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        factor: float = 1.0,
    ) -> None:
        super().__init__()
        if head_dim <= 0 or head_dim % 2:
            raise ValueError(f"head_dim must be even and positive, got {head_dim}")
        if base <= 0 or factor <= 0:
            raise ValueError(f"base and factor must be positive, got {base} and {factor}")
        if max_position < 0:
            raise ValueError(f"max_position must not be negative, got {max_position}")
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype of the tables must be float32 or float64, got {dtype}")
        self.head_dim = head_dim
        # As text, because torch.compile makes an input of a float attribute and a constant of this.
        self._base, self._factor = repr(float(base)), repr(float(factor))
        self.interleaved = interleaved
        self.max_position = max_position
        self.dtype = dtype
        self._remembered: dict[torch.device, tuple[Tensor, Tensor]] = {}
        if device is not None:
            self.tables(max_position, device=device)

    @property
    def base(self) -> float:
        return float(self._base)

    @property
    def factor(self) -> float:
        return float(self._factor)

    def forward(
        self,
        q: Tensor,
        k: Tensor,
        position_ids: Tensor | Rows | None = None,
        *,
        seq_dim: int = -2,
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Rotated copies of q and k, 2-D to 5-D in any layout of `rope`; head counts may differ.

        Without ids their sequence lengths may differ too. Instead of ids the result of an earlier
        `lookup` is accepted, which serves many layers. `exact` as in `lookup`.
        """
        rows = self.lookup(q.shape[seq_dim], position_ids, device=q.device, exact=exact)
        rotated_q = rope(q, *rows, interleaved=self.interleaved, seq_dim=seq_dim)
        if position_ids is None:
            rows = self.lookup(k.shape[seq_dim], device=k.device)
        return rotated_q, rope(k, *rows, interleaved=self.interleaved, seq_dim=seq_dim)

    def rotate_packed_(
        self,
        qkv: Tensor,
        position_ids: Tensor | Rows | None = None,
        *,
        heads: int | None = None,
        seq_dim: int = 1,
        exact: bool = False,
    ) -> Tensor:
        """Rotate the first `heads` heads of a packed projection in place; returns qkv.

        qkv is [B, S, P, H, D], or any layout of `rope` that has heads. `heads` counts over P * H;
        None means q and k of [B, S, 3, H, D]. Call it on the projection itself, not on a view:
        the backward of a view copies the whole gradient. Ids and `exact` as in `forward`.
        """
        if heads is None:
            if qkv.dim() != 5 or qkv.shape[2] != 3:
                raise ValueError(
                    "heads must be given unless qkv is [B, S, 3, H, D], "
                    f"got qkv of shape {tuple(qkv.shape)}"
                )
            heads = 2 * qkv.shape[3]
        rows = self.lookup(qkv.shape[seq_dim], position_ids, device=qkv.device, exact=exact)
        return rope_(qkv, *rows, interleaved=self.interleaved, seq_dim=seq_dim, heads=heads)

    def lookup(
        self,
        seq_len: int,
        position_ids: Tensor | Rows | None = None,
        *,
        device: torch.device,
        exact: bool = False,
    ) -> Rows:
        """The table and ids with which `rope` rotates `seq_len` tokens on x's `device`.

        position_ids: int32 or int64, [S], [1, S] or [B, S]. Ids from -1 up to the larger of
        `max_position` and `seq_len` are valid; `rope` refuses others. With `exact`, and always
        under torch.compile and torch.export, rows are computed from the ids, which makes any id
        from -1 up valid, costs a sine and a cosine per token and pair, and waits for nothing.
        """
        if isinstance(position_ids, Rows):
            return position_ids
        traced = torch.compiler.is_compiling() or not isinstance(seq_len, int)
        if position_ids is not None and (exact or traced):
            cos, sin = self._rows(position_ids.reshape(-1))
            own_row = torch.arange(position_ids.numel(), device=position_ids.device)
            # Only valid ids are replaced: -1 still means "leave alone" and -2 is still refused.
            ids = torch.where(position_ids < 0, position_ids, own_row.view(position_ids.shape))
            return Rows(cos, sin, ids)
        # Under a dispatch mode tensors may be fake or recorded, and every run must do the same.
        if traced or torch._C._len_torch_dispatch_stack() > 0:
            length = seq_len if position_ids is None else max(seq_len, self.max_position)
            return Rows(*self._build(length, device), position_ids)
        return Rows(*self._remember(seq_len, device), position_ids)

    def tables(
        self, seq_len_or_positions: int | Tensor, *, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """cos and sin, [n, head_dim / 2] or [*positions.shape, head_dim / 2].

        Positions may be integers, where -1 gives the identity, or real; their tables lie on their
        device and are differentiable in them. The tables of a length are shared: do not write.
        """
        if isinstance(seq_len_or_positions, Tensor):
            positions = seq_len_or_positions
            if not positions.is_floating_point():
                positions = torch.where(positions == -1, 0, positions)
            return self._rows(positions)
        device = torch.empty(0, device=device).device
        cos, sin, _ = self.lookup(seq_len_or_positions, device=device)
        return cos[:seq_len_or_positions], sin[:seq_len_or_positions]

    def extra_repr(self) -> str:
        return (
            f"{self.head_dim}, base={self.base:g}, interleaved={self.interleaved}, "
            f"max_position={self.max_position}, factor={self.factor:g}"
        )

    def _remember(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        if length > self.max_position:
            # At least doubled: a sequence that grows by one token seldom rebuilds.
            self.max_position = max(length, 2 * self.max_position)
        found = self._remembered.get(device)
        if found is None or found[0].shape[0] < self.max_position:
            # An inference tensor could not be saved for a later backward.
            with torch.inference_mode(False), torch.no_grad():
                found = self._build(self.max_position, device)
            if _outlives_this_call(found[0]):
                self._remembered[device] = found
        return found

    def _build(self, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        return self._rows(torch.arange(length, device=device))

    def _rows(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        # Metal has no float64.
        home = torch.device("cpu") if positions.device.type == "mps" else positions.device
        exponents = torch.arange(self.head_dim // 2, dtype=torch.float64, device=home)
        theta = torch.pow(self.base, -2 * exponents / self.head_dim) / self.factor
        angles = positions.to(home, torch.float64).unsqueeze(-1) * theta
        both = torch.stack((angles.cos(), angles.sin())).to(positions.device, self.dtype)
        if torch.compiler.is_compiling():
            # Note [Tables under the compiler]
            # A remembered table in a graph would bring a guard on its length or a limit on the
            # sequence, so graphs compute their own. Inductor may then inline sine and cosine
            # into whatever reads them and evaluate them in float64 once per head and batch entry;
            # as_strided makes it write the table to memory once, and changes nothing else.
            both = both.as_strided(both.size(), both.stride())
        cos, sin = both.unbind()
        return cos, sin

    def _apply(self, fn: Any, recurse: bool = True) -> RotaryEmbedding:
        """Conversions and moves find nothing to convert; tables of the old device are let go."""
        self._remembered = {}
        super()._apply(fn, recurse)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_remembered": {}}


def _outlives_this_call(table: Tensor) -> bool:
    """False for wrappers of a `torch.func` level, fake tensors, and memory of a captured graph."""
    if type(table) is not Tensor or torch._C._functorch.is_functorch_wrapped_tensor(table):
        return False
    return not (table.is_cuda and torch.cuda.is_current_stream_capturing())
