"""BLIP models with random weights and published sizes, and micro-blip's tokenizer: no download."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import torch

from ovsslib.lookup import unknown
from ovsslib.paths import data
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip.net import BlipNet
from ovsslib.vlm.inputs import load_tokenizer
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes
from ovsslib.vlm.weights import fill

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher

LARGE = "blip-large-random"
TINY = "blip-tiny-random"

SHAPES: dict[str, BlipSizes] = {
    # BLIP's image-text matching model with ViT-L/16, as published: trained at 384 pixels.
    LARGE: BlipSizes(
        image=EncoderSizes(width=1024, inner=4096, layers=24, heads=16, eps=1e-5),
        text=EncoderSizes(width=768, inner=3072, layers=12, heads=12, eps=1e-12),
        image_size=384,
        patch=16,
        vocabulary=30524,
        positions=512,
        pad=0,
        shared=256,
    ),
    # For tests of the benchmark itself.
    TINY: BlipSizes(
        image=EncoderSizes(width=32, inner=64, layers=3, heads=4, eps=1e-5),
        text=EncoderSizes(width=24, inner=48, layers=3, heads=3, eps=1e-12),
        image_size=48,
        patch=8,
        vocabulary=160,
        positions=64,
        pad=0,
        shared=16,
    ),
}
"""Name -> size of a model whose weights are drawn at random."""
SEED = 0
"""Of the weights."""


def random_weight(name: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One parameter's random values in float32, of the shape of `value`.

    The scales keep states, attention and gradients far from constant: a comparison of maps that
    are all alike would prove nothing. What a layer adds to the image tokens is small, as in trained
    networks; otherwise 24 random layers make all tokens alike, and GradCAM of a head 0 everywhere.
    """
    if "norm" in name.lower():
        start = 1.0 if name.endswith("weight") else 0.0
        return start + 0.05 * torch.randn(value.shape, generator=generator)
    if value.dim() < 2:
        return 0.02 * torch.randn(value.shape, generator=generator)
    fan_in = value[0].numel()
    scale = 0.5 if "embedding" in name and "patch" not in name else 1 / math.sqrt(fan_in)
    if re.search(r"vision_model\..*(projection|fc2)\.weight$", name):
        scale *= 0.2
    return scale * torch.randn(value.shape, generator=generator)


def random_blip(name: str, dtype: torch.dtype, device: torch.device) -> BlipMatcher:
    """A BLIP with random weights, always the same.

    Args:
        name: A key of `SHAPES`.
        dtype: Type of the weights (drawn in float32, then rounded).
        device: Where to put them.

    Returns:
        A frozen matcher.

    Raises:
        OvssError: The name is unknown.
    """
    if name not in SHAPES:
        raise unknown("random model", name, SHAPES)
    with torch.device("meta"):
        net = BlipNet(SHAPES[name])
    generator = torch.Generator().manual_seed(SEED)
    # One at a time, so that no second copy of all the weights shows in the peak memory.
    weights = {
        key: random_weight(key, value, generator).to(device, dtype)
        for key, value in net.state_dict().items()
    }
    fill(net, weights, "BLIP")
    return BlipMatcher(net, load_tokenizer(data("checkpoints", "micro-blip")), name=name)


def open_model(name: str, dtype: str = "float32", device: str | None = None) -> ImageTextMatcher:
    """A random model by name, or whatever `ovsslib.vlm.load_vlm` finds.

    Args:
        name: A key of `SHAPES`, a model's name, a folder or a hub id.
        dtype: See `ovsslib.vlm.load_vlm`.
        device: Such as `"cpu"` or `"cuda:0"`; None takes a GPU where there is one.

    Raises:
        OvssError: The model, the type or the device is unknown or cannot be had.
    """
    from ovsslib.vlm import DTYPES, load_vlm, open_device

    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    if name not in SHAPES:
        return load_vlm(name, device, dtype)
    return random_blip(name, getattr(torch, dtype), open_device(device))
