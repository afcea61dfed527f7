"""Tensor parallelism: each device has some heads of every layer and a part of its wide half.

The idea (Megatron, arXiv 1909.08053): a Linear divided by its output, then one divided by its
input, whose partial results are summed; so a sublayer costs one sum in either direction. What must
stay true: heads stay whole, all other parameters are replicated DTensors (an optimizer wants one
kind), and between modules tensors are plain, whole and equal on all devices.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_module
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from ..attention import PROJECTIONS
from ..config import RoFormerConfig
from ..layer import RoFormerLayer
from ..pretrained import RoFormerPreTrained
from .heads import DividedSelfAttention, divide_heads

Model = TypeVar("Model", bound=RoFormerPreTrained)


def parallelize(model: Model, mesh: DeviceMesh) -> Model:
    """Divide the model among the devices of a mesh of one dim; returns the model.

    Queries, keys and values are divided by heads, the feed-forward sublayer by its width, and the
    weights of the first device are what counts. Embeddings and heads, a tied decoder among them,
    are replicated. In memory the packed projection becomes three parameters, under the names that
    `state_dict()` has always had.

    Call it before the optimizer is made, and before `shard` where both are used. All devices must
    read the same batch and draw the same random numbers, so seed them alike; heads of the same
    place on two devices then drop the same attention weights.

    ValueError when the heads or the feed-forward width cannot be divided evenly.
    """
    _check(model.config, mesh)
    for layer in model.body.encoder.layer:
        _divide(layer, mesh)
    for module in model.modules():
        if next(module.children(), None) is None and any(map(_is_plain, module.parameters())):
            distribute_module(module, mesh, input_fn=_enter, output_fn=_leave)
    tie_weights = getattr(model, "tie_weights", None)
    if tie_weights is not None:
        tie_weights()
    return model


def _check(config: RoFormerConfig, mesh: DeviceMesh) -> None:
    if mesh.ndim != 1:
        raise ValueError(f"mesh must have one dim, got {mesh.ndim}: take one of them by its name")
    for name in ("num_attention_heads", "intermediate_size"):
        if getattr(config, name) % mesh.size():
            raise ValueError(
                f"{name} must be a multiple of the {mesh.size()} devices of the mesh, "
                f"got {getattr(config, name)}"
            )


def _divide(layer: RoFormerLayer, mesh: DeviceMesh) -> None:
    layer.attention.add_module("self", DividedSelfAttention(layer.attention.self, mesh))
    plan: dict[str, ColwiseParallel | RowwiseParallel] = {
        "attention.output.dense": RowwiseParallel(),
        "intermediate.dense": ColwiseParallel(),
        "output.dense": RowwiseParallel(),
    }
    if layer.crossattention is not None:
        divide_heads(layer.crossattention.self, mesh)
        plan |= {f"crossattention.self.{name}": ColwiseParallel() for name in PROJECTIONS}
        plan["crossattention.output.dense"] = RowwiseParallel()
    parallelize_module(layer, mesh, dict(plan))


def _is_plain(parameter: nn.Parameter) -> bool:
    return not isinstance(parameter, DTensor)


def _enter(module: nn.Module, inputs: Any, mesh: DeviceMesh) -> Any:
    return tuple(
        DTensor.from_local(x, mesh, [Replicate()], run_check=False) if isinstance(x, Tensor) else x
        for x in inputs
    )


def _leave(module: nn.Module, output: Any, mesh: DeviceMesh) -> Any:
    return output.to_local()
