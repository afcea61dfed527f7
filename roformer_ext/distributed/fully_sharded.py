"""FSDP2: parameters, gradients and moments divided among devices, whole only while they are used.

The idea: one unit for each layer, so that a layer's weights are gathered while the one before it
computes, and one for the rest, where tied names live. What must stay true: no cast of FSDP2 reaches
a position, since ids are integers and the tables of cosines travel inside the rotation.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from ..pretrained import RoFormerPreTrained

Model = TypeVar("Model", bound=RoFormerPreTrained)


def shard(model: Model, mesh: DeviceMesh | None = None, **options: Any) -> Model:
    """Wrap every layer and the model itself by `fully_shard`; returns the model.

    mesh: one dim, or two, replicate and shard; None takes all devices. After `parallelize` it is
        the other dim of the same mesh.
    options: of `fully_shard`, such as `mp_policy`, `reshard_after_forward`, `offload_policy`.

    Every device must start from the same weights. With `MixedPrecisionPolicy` give
    `num_items_in_batch` as an int or an integer tensor: a floating one would be rounded to
    `param_dtype`, as every floating input is.
    `state_dict()` must then be called by all devices, because q, k and v are packed in one
    parameter and a piece of it is no piece of them.
    """
    for layer in model.body.encoder.layer:
        fully_shard(layer, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)
    return model
