"""BLIP computed by salesforce-lavis itself: another implementation to compare ours with.

LAVIS needs older libraries than the rest of the project, hence an environment of its own
(`environment-lavis.yml`; `make test-lavis`). Its `BlipITM` is built here out of its own image
and text encoder, without its configuration files, which know two sizes, and without the hub, from
which it would fetch a tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip.net import resize_positions
from ovsslib.vlm.inputs import pad_texts
from ovsslib.vlm.lavis.checkpoint import open_lavis
from ovsslib.vlm.protocol import LayerMatch, Tokens
from ovsslib.vlm.sizes import BlipSizes
from ovsslib.vlm.state import own_state


class LavisMatcher(BlipMatcher):
    """A frozen `BlipITM` of LAVIS as a matcher, with LAVIS's text encoder and match head.

    Args:
        model: What `build` returns, with its weights. It is given the tokenizer in the form that
            LAVIS uses, so that `model({"image": ..., "text_input": ...})` works as well.
        tokenizer: The `tokenizers.Tokenizer` of its text encoder.
        **options: As `BlipMatcher` takes them.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, **options: Any) -> None:
        super().__init__(model, tokenizer, **options)
        from transformers import PreTrainedTokenizerFast

        # A copy, because LAVIS's calls switch padding and truncation on and leave it on.
        copy = Tokenizer.from_str(tokenizer.to_str())
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
        words: Any = PreTrainedTokenizerFast(tokenizer_object=copy, sep_token="[SEP]", **special)
        words.enc_token_id = self._enc
        self.model.tokenizer = words

    @own_state()
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Run LAVIS's image encoder.

        Args:
            pixels: (B, 3, S, S) normalised pixels; S a multiple of the patch. Position embeddings
                are interpolated (bicubic) where S is not the training size, as LAVIS does when it
                loads a checkpoint for another size.

        Returns:
            (B, 1+P, D) image tokens, the class token first.
        """
        encoder, sizes = self.model.visual_encoder, self.model.sizes
        rows, columns = (length // sizes.patch for length in pixels.shape[-2:])
        side = sizes.image_size // sizes.patch
        positions = resize_positions(encoder.pos_embed, side, rows, columns)
        inputs = (pixels.to(self.device, self.dtype),)
        patches, native = encoder.patch_embed, encoder.patch_embed.img_size
        try:  # the encoder refuses images of another size than this, and needs it for no more
            patches.img_size = tuple(pixels.shape[-2:])
            return torch.func.functional_call(encoder, {"pos_embed": positions}, inputs)
        finally:
            patches.img_size = native

    def match_layers(
        self, tokens: Tensor, texts: Sequence[Tokens], *, gradient: bool = True
    ) -> LayerMatch:
        """Not offered: this class is there to compare single layers with.

        Raises:
            OvssError: Always.
        """
        del tokens, texts, gradient
        raise OvssError(
            f"{self.name}: LAVIS's own network does not offer all layers in one pass; load the "
            "checkpoint without LAVIS"
        )

    def _read(
        self, tokens: Tensor, texts: Sequence[Tokens], layers: Sequence[int], gradient: bool
    ) -> tuple[Tensor, list[Tensor]]:
        (layer,) = layers
        encoder = self.model.text_encoder
        ids, mask = pad_texts(texts, self._pad)
        ids[:, 0] = self._enc
        mask = torch.ones_like(ids) if mask is None else mask.long()
        attention = encoder.encoder.layer[layer - 1].crossattention.self
        with torch.set_grad_enabled(gradient), watch(attention, gradient) as seen:
            hidden = encoder(
                ids.to(self.device),
                attention_mask=mask.to(self.device),
                encoder_hidden_states=tokens.detach(),
                encoder_attention_mask=torch.ones_like(tokens[:, :, 0], dtype=torch.long),
                return_dict=True,
            ).last_hidden_state
            logits = self.model.itm_head(hidden[:, 0])  # (R, 2)
        return logits, [seen[0]]


@contextmanager
def watch(attention: nn.Module, gradient: bool) -> Iterator[list[Tensor]]:
    """Collect the probabilities of one of LAVIS's attentions while the context is open.

    LAVIS's own switch, `save_attention`, fails without a gradient, and with frozen weights there
    is none: so they are taken on their way through the dropout, which does nothing in inference.

    Args:
        attention: A `BertSelfAttention` of LAVIS.
        gradient: Whether the probabilities become the leaf of a graph.

    Yields:
        A list that gets one tensor (R, A, T, 1+P) with each forward pass.
    """
    seen: list[Tensor] = []

    def take(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        seen.append(inputs[0].detach().requires_grad_(gradient))
        return (seen[-1],)

    dropout: Any = attention.dropout
    handle = dropout.register_forward_pre_hook(take)
    try:
        yield seen
    finally:
        handle.remove()


def lavis_classes() -> tuple[Any, Any, Any]:
    """LAVIS's `BlipITM`, `VisionTransformerEncoder` and `XBertEncoder`.

    Raises:
        OvssError: Salesforce-lavis, or what it needs, is not installed.
    """
    try:
        from lavis.models.blip_models.blip_image_text_matching import BlipITM
        from lavis.models.med import XBertEncoder
        from lavis.models.vit import VisionTransformerEncoder
    except ImportError as error:
        raise OvssError(
            f"LAVIS's own BLIP cannot be imported ({str(error).splitlines()[0]}): it needs the "
            "environment of environment-lavis.yml, which `make install-lavis` makes as .venv-lavis"
        ) from error
    return BlipITM, VisionTransformerEncoder, XBertEncoder


def build(sizes: BlipSizes) -> Any:
    """LAVIS's `BlipITM` of a size, with random weights and no tokenizer.

    Args:
        sizes: Its size; kept as the model's `sizes`.

    Raises:
        OvssError: As `lavis_classes`.
    """
    match_model, image_encoder, text_encoder = lavis_classes()
    from transformers import BertConfig

    # A subclass only to leave out the tokenizer that LAVIS would fetch from the hub.
    members = {"init_tokenizer": classmethod(lambda _: None)}
    local_model = type(match_model.__name__, (match_model,), members)
    image, text = sizes.image, sizes.text
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=text.width,
        num_hidden_layers=text.layers,
        num_attention_heads=text.heads,
        intermediate_size=text.inner,
        max_position_embeddings=sizes.positions,
        layer_norm_eps=text.eps,
        encoder_width=image.width,
        add_cross_attention=True,
        add_type_embeddings=False,
    )
    with torch.device("cpu"):  # its constructors compute, which they cannot on meta
        visual = image_encoder(
            img_size=sizes.image_size,
            patch_size=sizes.patch,
            embed_dim=image.width,
            depth=image.layers,
            num_heads=image.heads,
            mlp_ratio=image.inner / image.width,
            norm_layer=partial(nn.LayerNorm, eps=image.eps),
        )
        visual.vision_width = image.width
        words = text_encoder(config, add_pooling_layer=False)
        model = local_model(visual, words, embed_dim=sizes.shared, max_txt_len=sizes.positions)
    model.sizes = sizes
    return model


def load_backend(path: Path, name: str, dtype: torch.dtype, device: torch.device) -> LavisMatcher:
    """Load a checkpoint file of LAVIS into LAVIS's own network.

    Args:
        path: See `ovsslib.vlm.lavis.checkpoint.read_checkpoint`.
        name: What to call it in results.
        dtype: Type of the weights.
        device: Where they go.

    Raises:
        OvssError: Salesforce-lavis is not installed, or as
            `ovsslib.vlm.lavis.checkpoint.load_lavis`.
    """
    lavis_classes()  # before the file: a missing package is no fault of the checkpoint
    net, tokenizer = open_lavis(path, build)
    return LavisMatcher(net.to(device, dtype), tokenizer, name=name)
