"""Salience of every layer and head from one forward and one backward pass.

Letters: B images, R prompts, L layers, A heads, K classes, T text tokens, h x w = P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ovsslib.pnp import salience
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from PIL import Image

    from ovsslib.pnp.prompt import Prompt
    from ovsslib.vlm.protocol import ImageTextMatcher, LayerMatch


def layer_maps(
    matcher: ImageTextMatcher,
    config: PnPConfig,
    images: Sequence[Image.Image],
    classes: Sequence[Sequence[str]],
) -> list[np.ndarray]:
    """Class maps of every layer and head before any dropout.

    Args:
        matcher: The model.
        config: Its salience, score, prompt and input size are used; layer and head are not.
        images: B images in mode RGB.
        classes: Of each image, its K names; none is allowed.

    Returns:
        B arrays (L, A, K, P) float32, not negative.

    Raises:
        OvssError: The model does not give all layers at once, or a name fits no prompt.
    """
    return _per_class(matcher, config, images, classes, _salience)


def layer_slopes(
    matcher: ImageTextMatcher,
    config: PnPConfig,
    images: Sequence[Image.Image],
    classes: Sequence[Sequence[str]],
) -> list[np.ndarray]:
    """The derivatives of the match score by the attentions: GradCAM's second factor, with its sign.

    Args:
        matcher: See `layer_maps`.
        config: The same; its salience must be `"gradcam"`.
        images: The same.
        classes: The same.

    Returns:
        B arrays (L, A, K, P) float32, means over each name's tokens.

    Raises:
        OvssError: As `layer_maps`.
    """
    return _per_class(matcher, config, images, classes, _slopes)


@own_state()
def _per_class(
    matcher: ImageTextMatcher,
    config: PnPConfig,
    images: Sequence[Image.Image],
    classes: Sequence[Sequence[str]],
    values: Callable[[LayerMatch, PnPConfig], list[torch.Tensor]],
) -> list[np.ndarray]:
    """What `values` finds at each token (R, A, T, P), averaged over each class's tokens."""
    prompts = [prompts_for(matcher, config, names) for names in classes]
    side = (config.image_size or matcher.image_size) // matcher.patch_size
    out = [np.zeros((matcher.layers, matcher.heads, 0, side * side), np.float32)] * len(images)
    active = [index for index, each in enumerate(prompts) if each]
    if active:
        chosen = [images[i] for i in active], [prompts[i] for i in active]
        for index, maps in zip(active, _head_maps(matcher, config, *chosen, values), strict=True):
            out[index] = maps
    return out


def _head_maps(
    matcher: ImageTextMatcher,
    config: PnPConfig,
    images: Sequence[Image.Image],
    prompts: Sequence[Sequence[Prompt]],
    values: Callable[[LayerMatch, PnPConfig], list[torch.Tensor]],
) -> list[np.ndarray]:
    """The same for images with the prompts that together hold their classes."""
    rows = [(index, prompt) for index, each in enumerate(prompts) for prompt in each]
    pixels = matcher.preprocess(images, config.image_size)
    owner = torch.tensor([index for index, _ in rows], device=pixels.device)
    tokens = matcher.encode_images(pixels)[owner]
    gradient = config.salience == "gradcam"
    match = matcher.match_layers(tokens, [prompt.tokens for _, prompt in rows], gradient=gradient)
    layers = values(match, config)
    # Tokens first, so that the mean over a name's tokens serves all layers and heads at once.
    words = torch.stack(layers).permute(1, 3, 0, 2, 4)  # (R, T, L, A, P)
    parts: list[list[torch.Tensor]] = [[] for _ in images]
    for maps, (index, prompt) in zip(words, rows, strict=True):
        parts[index].append(salience.class_maps(maps, prompt.spans, config.last_name))
    return [torch.cat(each).permute(1, 2, 0, 3).float().cpu().numpy() for each in parts]


def _slopes(match: LayerMatch, config: PnPConfig) -> list[torch.Tensor]:
    return [slope[..., 1:] for slope in salience.layer_gradients(match, config.score)]


def _salience(match: LayerMatch, config: PnPConfig) -> list[torch.Tensor]:
    if config.salience != "gradcam":
        return [salience.attention_heads(attention) for attention in match.attention]
    pairs = zip(match.attention, salience.layer_gradients(match, config.score), strict=True)
    return [salience.gradcam_heads(attention, slope) for attention, slope in pairs]
