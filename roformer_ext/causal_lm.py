"""`RoFormerForCausalLM`: predicts each token from those before it.

The idea: a label is the token itself, so the target at a position is the label of the next one,
and `generate` goes on where a prompt ends. What must stay true: in a packed row no sequence
predicts the first token of the next, and the loss of a batch does not depend on its layout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Unpack

from .generation import generate
from .heads import DecoderOptions
from .language_model import RoFormerLanguageModel
from .masked_loss import IGNORED
from .outputs import CausalLMOutput


class RoFormerForCausalLM(RoFormerLanguageModel):
    """The encoder with a language-model head that predicts the next token.

    It is causal with `is_decoder`; without, it attends both ways and still predicts the next token.
    """

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: int | Tensor | None = None,
        output_logits: bool | None = None,
        return_dict: bool = True,
        **options: Unpack[DecoderOptions],
    ) -> CausalLMOutput | tuple[Any, ...]:
        """Logits [B, S, V] and, with labels, the loss; other arguments as in `RoFormerModel`.

        labels: [B, S], int32 or int64, the ids themselves, -100 where nothing is to be predicted;
            position s predicts labels[:, s + 1], and labels[:, 0] is never predicted.
        logits_to_keep: positions whose logits are computed: the last so many, 0 = all; or a 1-D
            tensor of positions; or a 2-D one, positions of each row, or a bool mask, which gives
            [kept, V]. ValueError with labels, whose loss takes all.
        num_items_in_batch: labels[:, 1:] that are not -100 in all micro-batches of one update, an
            int or a 0-d tensor. The loss is the sum over this micro-batch divided by it; without
            it the mean over this micro-batch, NaN when it has no label.
        output_logits: True returns the logits in training with labels too, and stores them whole.
            In eval mode, and without labels, they are always returned.
        """
        some = isinstance(logits_to_keep, Tensor) or logits_to_keep != 0
        if some and labels is not None:
            raise ValueError("logits_to_keep and labels exclude each other, got both")
        if not isinstance(logits_to_keep, Tensor) and logits_to_keep < 0:
            raise ValueError(f"logits_to_keep must not be negative, got {logits_to_keep}")
        targets = None if labels is None else _shifted(labels, options.get("cu_seqlens"))
        encoded = self.roformer.encode(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            targets=targets,
            reads_all=some,
            **options,
        )
        hidden = encoded.hidden
        if some:
            hidden = _kept(hidden, logits_to_keep)
        loss, logits = self.loss_and_logits(
            hidden, encoded.laid_out(targets), num_items_in_batch, output_logits
        )
        output = CausalLMOutput(
            loss=loss,
            logits=encoded.padded(logits),
            past_key_values=encoded.cache,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            cross_attentions=encoded.cross_attentions,
        )
        return output if return_dict else output.to_tuple()

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        *,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> Tensor:
        """Prompts and what follows, [B * num_return_sequences, P + new], int64.

        input_ids: [B, P], padded on the left where lengths differ; a prompt's tokens stand at the
            positions that they have in the padded row, as in transformers.
        attention_mask: [B, P], nonzero = token; None: all but the pad token, where that is not an
            end of sequence as well.
        token_type_ids: [B, P]; new tokens have the last one's.
        encoder_hidden_states, encoder_attention_mask: as in `forward`, one row for each prompt.
        generator: the random state to sample with, torch's own if None.
        settings: the fields of `GenerationSettings`, by name: max_new_tokens, do_sample, num_beams,
            temperature, top_k, top_p, eos_token_id and others; TypeError for an unknown one.

        Rows that end early are filled up with `pad_token_id`; of beams, which transformers fills
        otherwise where that is 0, with the first end of sequence then. ValueError names an argument
        that does not fit, and a model that is no decoder. The model should be in eval mode.
        """
        return generate(
            self,
            input_ids,
            attention_mask,
            token_type_ids,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            generator=generator,
            **settings,
        )


def _shifted(labels: Tensor, cu_seqlens: Tensor | None) -> Tensor:
    """What each position predicts: the next label, nothing at the end of a sequence."""
    targets = F.pad(labels[..., 1:], (0, 1), value=IGNORED)
    if cu_seqlens is None or labels.dim() != 2:
        return targets
    return targets.index_fill(1, cu_seqlens[1:].long() - 1, IGNORED)


def _kept(hidden: Tensor, which: int | Tensor) -> Tensor:
    if not isinstance(which, Tensor):
        return hidden[:, -which:]
    if which.dim() == 2 and which.dtype != torch.bool:
        return hidden.take_along_dim(which[:, :, None], 1)
    return hidden[which] if which.dtype == torch.bool else hidden[:, which]
