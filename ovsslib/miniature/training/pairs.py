"""Images and captions in contrast: which pairs are right, which wrong, and which neither.

Letters: B images with a caption each, E features of either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ovsslib.miniature.training.negatives import Caption, name_list, swap
from ovsslib.miniature.training.wordpiece import named


def reworded(texts: Sequence[str], rng: np.random.Generator, list_share: float) -> Caption:
    """One of an image's captions or, a share of the time, a list of the names in them."""
    present = named(texts)
    if present and rng.random() < list_share:
        return Caption(name_list(present, False, rng)[0], listed=True)
    return Caption(str(rng.choice(list(texts))))


def swapped(
    caption: Caption,
    texts: Sequence[str],
    rng: np.random.Generator,
    known: Mapping[str, frozenset[str]] | None,
) -> Caption | None:
    """A caption that one word makes false for its image; None where no word can.

    Args:
        caption: A true one.
        texts: All captions of the image.
        rng: Source of randomness.
        known: See `ovsslib.miniature.training.negatives.swap`.
    """
    text, new = swap(caption.text, named(texts), rng, known=known)
    if text == caption.text:
        return None
    return Caption(text, True, frozenset({new} if new else ()), caption.listed)


def may_fit(images: Sequence[frozenset[str]], captions: Sequence[frozenset[str]]) -> Tensor:
    """Pairs that are neither right nor wrong: `(B, B)` bool.

    Args:
        images: Classes that an image's captions name.
        captions: Classes that the caption names which is compared, one an image.

    Returns:
        True where image `i` may fit the caption of another image `j`, which names nothing else.

    Example:
        >>> car, sky = frozenset({"car"}), frozenset({"sky"})
        >>> may_fit([car | sky, sky], [car, sky])
        tensor([[False,  True],
                [False, False]])
    """
    return torch.tensor(
        [[i != j and c <= image for j, c in enumerate(captions)] for i, image in enumerate(images)]
    )


def contrast_logits(
    features: Tensor,
    texts: Tensor,
    scale: Tensor,
    captions: Sequence[Sequence[str]],
    compared: Sequence[Caption],
) -> Tensor:
    """Scaled cosines `(B, B)`, -inf where a pair may be right although it is not the pair.

    Args:
        features: Unit features `(B, E)` of images.
        texts: Unit features `(B, E)` of captions, one an image.
        scale: Inverse temperature.
        captions: All captions of each image.
        compared: The captions of `texts`.
    """
    fits = may_fit([named(each) for each in captions], [named([one.text]) for one in compared])
    return (scale * features @ texts.T).masked_fill(fits, -math.inf)


def contrast_loss(logits: Tensor) -> tuple[Tensor, Tensor]:
    """CLIP's symmetric loss, and the share of images whose caption is found.

    Source: Radford et al. (2021), figure 3.

    Args:
        logits: `(B, B)`, the right pairs on the diagonal.
    """
    truth = torch.arange(len(logits))
    loss = (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)) / 2
    return loss, (logits.argmax(1) == truth).float().mean().detach()
