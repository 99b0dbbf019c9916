"""BLIP checkpoints as LAVIS and the original BLIP write them: one pickle of tensors.

Such a file (`model_large_retrieval_flickr.pth`) holds `{"model": state}` with the parameter
names of LAVIS, and nothing about the network's size: that is read off the tensors. What they do
not show is fixed: attention heads are 64 wide, as in every ViT and BERT that BLIP was built from
(ViT-B 12, ViT-L 16, BERT base 12 heads); layer norms add 1e-6 in the image encoder and 1e-12 in
the text encoder; text is split by BERT's uncased WordPiece with `[DEC]` and `[ENC]` appended.

Source: salesforce-lavis 1.0.2, `blip_image_text_matching` and `blip_retrieval`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip.net import BlipNet
from ovsslib.vlm.lavis.names import VISION_LAYER_NORM_EPS, rename_state
from ovsslib.vlm.lavis.tokenizer import find_tokenizer
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes
from ovsslib.vlm.weights import fill, read_state, shape_of

HEAD_WIDTH = 64
"""Width of an attention head in all of BLIP's encoders."""
TEXT_LAYER_NORM_EPS = 1e-12

IGNORED: dict[str, str] = {
    r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\.": "momentum copies, for training",
    r"((image|text|idx)_queue|queue_ptr|ptr_queue)$": "queues of the contrastive loss",
    r"temp$": "temperature of the contrastive loss",
    r"text_decoder\.": "caption decoder of the pre-training",
    r"text_encoder\.embeddings\.position_ids$": "0, 1, 2, ...",
}
"""Pattern of the names of weights that matching does not need -> what they are."""
# The contrastive heads are not needed either, but transformers' format keeps them, and so do we.
_NEEDED = re.compile(r"(visual_encoder|text_encoder|vision_proj|text_proj|itm_head)\.")
_ADVICE = "give a BLIP image-text matching or retrieval checkpoint, whole, such as "
_ADVICE += "model_large_retrieval_flickr.pth"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file on the CPU, under LAVIS's names, as stored.

    Half of a retrieval checkpoint is not used; see `ovsslib.vlm.weights.read_state`.

    Args:
        path: As there.

    Raises:
        OvssError: It is no such file.
    """
    try:
        return read_state(path)
    except OvssError as error:
        raise _wrong(path, str(error)) from error


def _wrong(path: Path, reason: str) -> OvssError:
    return OvssError(f"{path} is no BLIP checkpoint in LAVIS's format: {reason}; {_ADVICE}")


def sort_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which weights of a checkpoint are used, and which are knowingly ignored.

    Args:
        names: LAVIS's parameter names.

    Returns:
        Those used and those that match a pattern of `IGNORED`, both sorted.

    Raises:
        OvssError: Others are there, or there is no match head: this is another kind of model.

    Example:
        >>> sort_names(["itm_head.bias", "temp", "visual_encoder_m.cls_token"])
        (['itm_head.bias'], ['temp', 'visual_encoder_m.cls_token'])
    """
    needed, ignored, strange = [], [], []
    for name in sorted(names):
        if any(re.match(pattern, name) for pattern in IGNORED):
            ignored.append(name)
        elif _NEEDED.match(name):
            needed.append(name)
        else:
            strange.append(name)
    if strange:
        raise OvssError(
            f"it holds {len(strange)} weights that BLIP's matching model and training lack "
            f"({strange[0]}, ...)"
        )
    if not any(name.startswith("itm_head.") for name in needed):
        raise OvssError("it has no match head (itm_head): it was trained for another task")
    return needed, ignored


def sizes_of(weights: Mapping[str, Tensor]) -> BlipSizes:
    """The network's size, read off its tensors.

    The side of the training images is that of the grid of position embeddings times the patch.

    Args:
        weights: Under LAVIS's names.

    Returns:
        The size; `pad` is 0, where BERT's vocabulary has `[PAD]`.

    Raises:
        OvssError: A tensor is missing or has an impossible shape.

    Example:
        >>> sizes_of({})
        Traceback (most recent call last):
        ovsslib.errors.OvssError: visual_encoder.patch_embed.proj.weight is missing
    """
    kernel = shape_of(weights, "visual_encoder.patch_embed.proj.weight", 4)
    cells = shape_of(weights, "visual_encoder.pos_embed", 3)[1] - 1
    side = math.isqrt(max(cells, 0))
    if side < 1 or side**2 != cells:
        raise OvssError(f"visual_encoder.pos_embed has {cells} patches, which make no square")
    words = shape_of(weights, "text_encoder.embeddings.word_embeddings.weight", 2)
    places = shape_of(weights, "text_encoder.embeddings.position_embeddings.weight", 2)
    return BlipSizes(
        image=_encoder(weights, "visual_encoder.blocks", "mlp.fc1", VISION_LAYER_NORM_EPS),
        text=_encoder(
            weights, "text_encoder.encoder.layer", "intermediate.dense", TEXT_LAYER_NORM_EPS
        ),
        image_size=side * kernel[-1],
        patch=kernel[-1],
        vocabulary=words[0],
        positions=places[0],
        pad=0,
        shared=shape_of(weights, "text_proj.weight", 2)[0],
    )


def _encoder(weights: Mapping[str, Tensor], layers: str, mlp: str, eps: float) -> EncoderSizes:
    inner, width = shape_of(weights, f"{layers}.0.{mlp}.weight", 2)
    if width % HEAD_WIDTH:
        raise OvssError(
            f"{layers} is {width} wide, which {HEAD_WIDTH}-wide heads do not divide; a network of "
            "another make has to be given as a folder with a config.json"
        )
    numbers = re.compile(rf"{re.escape(layers)}\.(\d+)\.")
    count = 1 + max(int(found[1]) for found in map(numbers.match, weights) if found)
    return EncoderSizes(width, inner, count, width // HEAD_WIDTH, eps)


def open_lavis(
    path: Path,
    make: Callable[[BlipSizes], Any],
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict,
) -> tuple[Any, Tokenizer]:
    """A network with the weights of a checkpoint file, and its tokenizer.

    Args:
        path: See `read_checkpoint`.
        make: The network's class, or what makes one of a size.
        rename: LAVIS's parameter names to the network's.

    Returns:
        The network, its size as `sizes`; and the tokenizer.

    Raises:
        OvssError: The file is not such a checkpoint, holds weights that nothing here knows, or
            lacks some; or no tokenizer is found (see `find_tokenizer`).
    """
    weights = read_checkpoint(path)
    try:
        needed = {key: weights[key] for key in sort_names(weights)[0]}
        sizes = sizes_of(needed)
        for key, value in needed.items():
            if not value.is_floating_point():
                raise OvssError(f"{key} has the type {value.dtype}")
        with torch.device("meta"):
            net = make(sizes)
        fill(net, rename(needed), "BLIP", where="it")
    except OvssError as error:
        raise _wrong(path, str(error)) from error
    tokenizer = find_tokenizer(path, sizes.vocabulary)
    net.sizes = replace(sizes, pad=tokenizer.token_to_id("[PAD]") or 0)
    return net, tokenizer


def load_lavis(path: Path, name: str, dtype: torch.dtype, device: torch.device) -> BlipMatcher:
    """Load a checkpoint file of LAVIS or of the original BLIP.

    Args:
        path: See `read_checkpoint`.
        name: What to call it in results.
        dtype: Type of the weights.
        device: Where they go.

    Returns:
        The matcher, frozen; the same that the converted weights give.

    Raises:
        OvssError: As `open_lavis`.
    """
    net, tokenizer = open_lavis(path, BlipNet, rename_state)
    return BlipMatcher(net.to(device, dtype), tokenizer, name=name)
