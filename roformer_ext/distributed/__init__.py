"""The models on several devices: what differs from one, and nothing that torch does by itself.

shard              FSDP2: every layer and the root, in one call
parallelize        tensor parallelism: heads and the feed-forward width divided among devices
*_optimizer_state  under the names of the checkpoint, whatever the number of devices

DDP needs nothing of ours. It and FSDP2 take the mean of the devices' gradients, and a loss divides
by the labels of its own device, so that a label counts more where there are few. For the gradient
of one process on the whole batch, give the labels of all devices as `num_items_in_batch` and
multiply the loss by the number of devices.

Importing this module also tells DTensor how `rope` may be split (`roformer_ext.sharding`).
"""

from ..sharding import register
from .fully_sharded import shard
from .optimizer_state import get_optimizer_state, set_optimizer_state
from .tensor_parallel import parallelize

register()

__all__ = ["get_optimizer_state", "parallelize", "set_optimizer_state", "shard"]
