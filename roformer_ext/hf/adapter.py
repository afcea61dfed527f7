"""`Adapter`: what makes one of our models a `PreTrainedModel`.

The idea: a class of this package inherits from both. From ours come the modules and every
computation, from transformers loading, saving, resizing, generation and all that asks for a
`PreTrainedModel`; this file stands between the two. What must stay true: nothing is computed here,
and the names of a state dict are those of transformers' RoFormer.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from ..layer import initialise
from .calls import with_cache, with_sequences, without_strangers
from .config import RoFormerConfig
from .loading import PositionTable, is_loading, loading


class _Ground(nn.Module):
    """Ends the chain of constructors that `PreTrainedModel` begins, before ours, which differ."""

    def __init__(self) -> None:
        nn.Module.__init__(self)


class Adapter(PreTrainedModel, _Ground):  # type: ignore[misc, unused-ignore]
    """Base of every model here; the last base of a subclass is the model of ours that it adapts."""

    config: RoFormerConfig
    body: Any
    config_class = RoFormerConfig
    base_model_prefix = "roformer"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    """Trainer counts labels over all micro-batches, and hands on `num_items_in_batch`."""
    separates_sequences = True
    """Position ids that restart mean packed sequences."""
    caches = False
    """`forward` knows about a cache."""
    _no_split_modules = ["RoFormerLayer"]  # noqa: RUF012
    # See `RoFormerConfig._attn_implementation`.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _keys_to_ignore_on_load_missing = [r"encoder\.embed_positions\.weight$"]  # noqa: RUF012

    def __init__(self, config: Any) -> None:
        config = RoFormerConfig.of(config)
        super().__init__(config)
        super(_Ground, self).__init__(config)  # ours
        self.body.encoder.embed_positions = PositionTable(config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in `PreTrainedModel`, from a directory of transformers' RoFormer or of ours."""
        with loading():
            return super().from_pretrained(*args, **kwargs)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The names of transformers' RoFormer; while that library loads, those of our modules."""
        if args or kwargs or not is_loading():
            return super().state_dict(*args, **kwargs)
        named = dict(self.named_parameters(remove_duplicate=False)) | dict(self.named_buffers())
        return {name: named[name] for name in named if name not in self.needless_names()}

    def needless_names(self) -> set[str]:
        """Second names of parameters, which a checkpoint need not have."""
        return set()

    def init_weights(self) -> None:
        """Tie what is tied; the constructor has drawn the weights already."""
        self.tie_weights(recompute_mapping=False)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, PositionTable):
            module.reset_parameters()
        else:
            initialise(module, self.config.initializer_range)

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.body.embeddings.word_embeddings = value

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """What our `forward` is called with, of what callers of transformers' models give."""
        given = without_strangers(given)
        for name in ("output_attentions", "output_hidden_states"):
            if given.get(name) is None:
                given[name] = bool(getattr(self.config, name))
        if self.separates_sequences:
            given = with_sequences(given, causal=self.config.is_decoder)
        if self.caches:
            given = with_cache(given, self.config, training=self.training)
        return given
