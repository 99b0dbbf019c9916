"""BridgeTower image-text matching on transformers' own modules.

Architecture: BridgeTower (arXiv 2206.08657), section 3: an image and a text encoder, whose last N
layers each feed one of the N cross-modal layers; in these, words look at patches and patches look
at words. What no text has a part in is computed once for an image.

Letters: B images, R texts, A heads, T text tokens, P patches, D width, N cross-modal layers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.vlm.attention import edited, install, load
from ovsslib.vlm.blip.net import leaf
from ovsslib.vlm.inputs import pad_texts
from ovsslib.vlm.matcher import Matcher, Sizes
from ovsslib.vlm.protocol import Tokens
from ovsslib.vlm.state import own_state

# What checkpoints hold beside the weights that matching needs: heads of other tasks, the text
# encoder's pooler, and norms that no forward pass reads.
_UNREAD = (
    "mlm_score.",
    "itc_",
    "logit_scale",
    "bridgetower.text_model.pooler.",
    "bridgetower.text_model.embeddings.token_type_ids",
    "bridgetower.text_model.embeddings.position_ids",
    "bridgetower.vision_model.visual.embeddings.position_ids",
    "bridgetower.vision_model.visual.ln_separate.",
)


class BridgeTowerMatcher(Matcher):
    """A frozen BridgeTower that scores image-text pairs and shows where each token looked.

    Its layers are the N cross-modal layers (six in the published models), and the attention is that
    of their text side: from words to patches. Nothing after the last layer's cross-attention mixes
    tokens, so there the derivative of the match is 0 for every token but `<s>`.

    A match runs the text encoder and the cross-modal layers. It takes image tokens (R, 1+P, N*D)
    and refuses those of another width as another model's.

    Images are squashed. The model's own processor cuts a square out of the middle instead, which
    would leave the image's ends without a label. The other arguments are those of `Matcher`.

    Args:
        model: transformers' `BridgeTowerForImageAndTextRetrieval`; its weights are frozen here.
        tokenizer: The `tokenizers.Tokenizer` of its text encoder.

    Raises:
        OvssError: The tokenizer has more tokens than the model has embeddings, or the parts of the
            model do not fit each other.
    """

    family = "bridgetower"

    def _set_up(self) -> Sizes:
        install(self.model)
        config = self.model.config
        words, vision = config.text_config, config.vision_config
        _check(config)
        self._width = config.num_hidden_layers * config.hidden_size
        self._unk = self.tokenizer.token_to_id("<unk>")
        return Sizes(
            layers=config.num_hidden_layers,
            heads=words.num_attention_heads,
            # RoBERTa counts positions from `pad + 1`.
            tokens=words.max_position_embeddings - words.pad_token_id - 1,
            patch=vision.patch_size,
            image_size=vision.image_size,
            pad=words.pad_token_id,
            vocabulary=words.vocab_size,
        )

    @property
    def image_encoder(self) -> nn.Module:
        """The part that sees images only; it takes no gradient and can be compiled."""
        return self.model.bridgetower.vision_model

    def tokenize(self, text: str) -> Tokens:
        """Split a text into byte-level tokens, `<s>` and `</s>` included.

        Offsets leave out the space that byte-level tokens carry before a word, whatever the
        tokenizer's own setting; a token that is nothing but space gets an empty range. The tokens
        of a character of several bytes all get that character's range.
        """
        encoding = self.tokenizer.encode(text)
        return Tokens(
            ids=tuple(encoding.ids),
            offsets=tuple(_trim(text, *offsets) for offsets in encoding.offsets),
            special=tuple(bool(flag) for flag in encoding.special_tokens_mask),
            unknown=tuple(token == self._unk for token in encoding.ids),
        )

    @own_state()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Run the image encoder, and map its outputs to the cross-modal layers' width.

        Each of the N cross-modal layers takes the output of another layer of the image encoder.
        They are stacked along the features, so that one row still is one patch.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position
                embeddings are interpolated (bicubic) where S is not the training size.

        Returns:
            (B, 1+P, N*D) image tokens, the class token first; D is the cross-modal width.
        """
        towers = self.model.bridgetower
        visual = towers.vision_model.visual
        depth = len(towers.text_model.encoder.layer)
        pixels = pixels.to(self.device, self.dtype)
        states = visual.forward_pre(pixels, interpolate_pos_encoding=True)
        outputs = []
        for block in visual.transformer.resblocks[:depth]:  # later ones are read by nothing
            states = block(states)
            outputs.append(visual.forward_post(states))
        return torch.cat(bridged(towers, "image", outputs[-self.layers :]), dim=-1)

    def _read(
        self, tokens: Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[Tensor, list[Tensor]]:
        self._check_width(tokens, self._width)
        ids, padding = pad_texts(texts, self._pad)
        mask = None if padding is None else padding.to(self.device)[:, None, None]
        towers, maps = self.model.bridgetower, []

        def keep(probabilities: Tensor) -> Tensor:
            maps.append(leaf(probabilities, gradient))
            return maps[-1]

        # Frozen weights and detached images: no graph exists below the watched probabilities.
        with torch.set_grad_enabled(gradient), contextlib.ExitStack() as watching:
            for layer in layers:
                module = towers.cross_modal_text_layers[layer - 1].crossattention.self
                watching.enter_context(edited(module, keep))
            new_words = bridged(towers, "text", self._words(ids.to(self.device), mask))
            new_patches = tokens.detach().unflatten(-1, (self.layers, -1)).unbind(dim=-2)
            words, patches = new_words[0], new_patches[0]
            for index in range(self.layers):
                if index:
                    words = link(towers, "text", index, new_words[index], words)
                    patches = link(towers, "image", index, new_patches[index], patches)
                # The head reads both class tokens: the last layer need not finish any other.
                last = index == self.layers - 1
                seen = cross(towers, "text", index, words, patches, (mask, None))
                patches = cross(towers, "image", index, patches, words, (None, mask), last)
                words = seen
            return head(self.model, words, patches), maps

    def _words(self, ids: Tensor, mask: Tensor | None) -> list[Tensor]:
        """The last N layers' outputs of the text encoder, (R, T, D) each."""
        text = self.model.bridgetower.text_model
        states, outputs = text.embeddings(input_ids=ids), []
        for layer in text.encoder.layer:
            states = layer(states, mask)
            outputs.append(states)
        return outputs[-self.layers :]


def bridged(towers: Any, side: str, outputs: Sequence[Tensor]) -> list[Tensor]:
    """An encoder's N outputs as the N cross-modal layers take them.

    Args:
        towers: transformers' `BridgeTowerModel`.
        side: `"text"` or `"image"`.
        outputs: N tensors (R, T, D) or (B, 1+P, D).

    Returns:
        N tensors of the cross-modal width.
    """
    maps = getattr(towers, f"cross_modal_{side}_transform")
    each = maps if isinstance(maps, nn.ModuleList) else [maps] * len(outputs)
    kind = towers.token_type_embeddings.weight[("text", "image").index(side)]
    states = [part(output) + kind for part, output in zip(each, outputs, strict=True)]
    states[0] = getattr(towers, f"cross_modal_{side}_layernorm")(states[0])
    return states


def link(towers: Any, side: str, index: int, fresh: Tensor, stream: Tensor) -> Tensor:
    """The bridge before cross-modal layer `index` (from 0): joins an encoder's output to a side."""
    return getattr(towers, f"cross_modal_{side}_link_tower")[index - 1](fresh, stream, None)


def cross(
    towers: Any,
    side: str,
    index: int,
    states: Tensor,
    other: Tensor,
    masks: tuple[Tensor | None, Tensor | None],
    class_only: bool = False,
) -> Tensor:
    """One side of a cross-modal layer: looks at its own stream, then at the other one.

    Args:
        towers: transformers' `BridgeTowerModel`.
        side: `"text"` or `"image"`.
        index: Of the layer, from 0.
        states: (R, T, D).
        other: The other side's states.
        masks: For the own and for the other stream, (R, 1, 1, T) bool, False for padding.
        class_only: Whether only the first state is finished.

    Returns:
        (R, T, D), or (R, 1, D).
    """
    layer = getattr(towers, f"cross_modal_{side}_layers")[index]
    states, _ = layer.attention(states, masks[0])
    return across(layer, states[:, :1] if class_only else states, other, masks[1])


def across(layer: Any, states: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
    """The second half of one side of a cross-modal layer: a look at the other stream, the MLP."""
    states, _ = layer.crossattention(
        states, encoder_hidden_states=other, encoder_attention_mask=mask
    )
    return layer.feed_forward_chunk(states)


def head(model: Any, words: Tensor, patches: Tensor) -> Tensor:
    """Match logits (R, 2) from the class tokens of both sides."""
    towers = model.bridgetower
    sides = (towers.cross_modal_text_pooler(words), towers.cross_modal_image_pooler(patches))
    return model.itm_score(torch.cat(sides, dim=-1))


def _check(config: Any) -> None:
    """Raise for parts that do not fit each other, where transformers fails late or not at all."""
    words, vision = config.text_config, config.vision_config
    depth = vision.num_hidden_layers - bool(vision.remove_last_layer)
    if config.hidden_size != words.hidden_size:
        raise OvssError(
            f"the cross-modal width {config.hidden_size} is not the text encoder's "
            f"{words.hidden_size}"
        )
    if not 1 <= config.num_hidden_layers <= words.num_hidden_layers <= depth:
        raise OvssError(
            f"{config.num_hidden_layers} cross-modal layers need as many text layers or more, and "
            f"these as many image layers; the model has {words.num_hidden_layers} and {depth}"
        )
    if type(words.pad_token_id) is not int:
        raise OvssError(f"text_config: pad_token_id must be a number, got {words.pad_token_id!r}")
    if words.max_position_embeddings - words.pad_token_id < 4:
        raise OvssError(
            f"{words.max_position_embeddings} position embeddings leave no room for a text"
        )
    if config.share_link_tower_layers:
        raise OvssError("share_link_tower_layers is not supported (nor by transformers)")


def _trim(text: str, start: int, stop: int) -> tuple[int, int]:
    """The range without white space at its ends.

    Example:
        >>> _trim("A cat", 1, 5)
        (2, 5)
    """
    while start < stop and text[start].isspace():
        start += 1
    while start < stop and text[stop - 1].isspace():
        stop -= 1
    return start, stop


def load_bridgetower(
    folder: Path, name: str, dtype: torch.dtype, device: torch.device
) -> BridgeTowerMatcher:
    """Load a checkpoint folder in transformers' format.

    Args:
        folder: Holds `config.json`, the weights, the tokenizer and the processor's settings.
            Weights of other heads (masked words, contrast) are ignored.
        name: What to call the model in results.
        dtype: Type of the weights.
        device: Where to put them.

    Raises:
        OvssError: Weights (such as those of the matching head) or the tokenizer are missing or
            unreadable, or belong to another architecture.
    """
    return load(
        BridgeTowerMatcher,
        "BridgeTowerForImageAndTextRetrieval",
        folder,
        name,
        dtype,
        device,
        unread=_UNREAD,
    )
