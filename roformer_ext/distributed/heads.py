"""Attention of which each device computes its own heads.

The idea: q, k and v are three parameters here, each divided by rows, which is by heads, so every
tool of torch sees an ordinary piece of an ordinary tensor; a device joins its pieces to one packed
weight for the product. What must stay true: the result of a device is its heads' part of the
context, and what leaves the module by another way (weights) or enters it (a mask per head) is
whole.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from ..attention import (
    PROJECTIONS,
    RoFormerCrossAttention,
    RoFormerSelfAttention,
    Rotation,
    attend_to_itself,
    thirds_of,
)
from ..cache import CacheLayer
from ..mask import AttentionMask
from ..sharding import local


class DividedSelfAttention(nn.Module):
    """`RoFormerSelfAttention` on one device of a mesh; the context is [B, S, H / n * D]."""

    def __init__(self, attention: RoFormerSelfAttention, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh = mesh
        self.num_heads, self.head_dim = attention.num_heads, attention.head_dim
        self.dropout_prob = attention.dropout_prob
        divided = {
            kind: [
                nn.Parameter(distribute_tensor(rows, mesh, [Shard(0)]), packed.requires_grad)
                for rows in thirds_of(packed.detach())
            ]
            for kind, packed in attention.qkv.named_parameters()
        }
        width = attention.qkv.in_features
        self.query, self.key, self.value = (
            nn.Linear(width, width, bias="bias" in divided, device="meta") for _ in PROJECTIONS
        )
        for kind, parameters in divided.items():
            for linear, parameter in zip(self._projections(), parameters):
                linear.register_parameter(kind, parameter)
        divide_heads(self, mesh)

    def forward(
        self,
        hidden: Tensor,
        mask: AttentionMask | None = None,
        rotate: Rotation | None = None,
        cache: CacheLayer | None = None,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Arguments as in `RoFormerSelfAttention`, of which `cache` holds this device's heads."""
        batch, seq, width = hidden.shape
        whole = DTensor.from_local(hidden, self.mesh, [Replicate()], run_check=False)
        # Every device adds its heads' part to the gradient.
        hidden = whole.to_local(grad_placements=[Partial()])
        weight = torch.cat([local(linear.weight) for linear in self._projections()])
        bias = None
        if self.query.bias is not None:
            bias = torch.cat([local(linear.bias) for linear in self._projections()])
        packed = F.linear(hidden.reshape(batch * seq, width), weight, bias)
        shape = [batch, seq, 3, self.num_heads, self.head_dim]
        packed = torch.ops.aten._unsafe_view.default(packed, shape)
        if rotate is not None:
            packed = rotate(packed)
        dropout = self.dropout_prob if self.training else 0.0
        return attend_to_itself(packed, mask, cache, dropout, output_attentions)

    def _projections(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.query, self.key, self.value


def divide_heads(
    attention: DividedSelfAttention | RoFormerCrossAttention, mesh: DeviceMesh
) -> None:
    """Let it count its own heads only, take its part of a mask per head, and return all weights."""
    heads = attention.num_heads // mesh.size()
    attention.num_heads = heads
    first = mesh.get_local_rank() * heads

    def take(t: Tensor | None) -> Tensor | None:
        return t if t is None or t.shape[1] == 1 else t.narrow(1, first, heads)

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            x._replace(additive=take(x.additive), seeing=take(x.seeing))
            if isinstance(x, AttentionMask)
            else x
            for x in inputs
        )

    def leave(module: nn.Module, inputs: Any, output: tuple[Tensor, Tensor | None]) -> Any:
        context, weights = output
        if weights is not None:
            pieces = DTensor.from_local(weights, mesh, [Shard(1)], run_check=False)
            weights = pieces.full_tensor()
        return context, weights

    attention.register_forward_pre_hook(enter)
    attention.register_forward_hook(leave)
