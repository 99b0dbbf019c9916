"""Salience of image patches for class names: attention and GradCAM (steps 2 and 3).

Letters: R prompts, A heads, T text tokens, P = h*w patches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.prompt import Prompt
from ovsslib.vlm.protocol import LayerMatch, Match
from ovsslib.vlm.state import own_state


def patch_grid(count: int) -> tuple[int, int]:
    """Rows and columns of the square patch grid behind `count` image tokens.

    Args:
        count: 1 + P, the class token included.

    Raises:
        OvssError: P is not a square number.

    Example:
        >>> patch_grid(37)
        (6, 6)
    """
    side = round(max(0, count - 1) ** 0.5)
    if count < 2 or side * side != count - 1:
        raise OvssError(f"{count} image tokens are not a class token and a square grid of patches")
    return side, side


def _widen(values: torch.Tensor) -> torch.Tensor:
    """Half-precision values as float32; products of small numbers would vanish otherwise."""
    return values if values.dtype == torch.float64 else values.float()


def pick_head(maps: torch.Tensor, head: int | None) -> torch.Tensor:
    """One head of (R, A, T, P) maps, or the mean over heads: (R, T, P).

    Args:
        maps: Maps per head.
        head: 1 to A, or None for the mean.

    Raises:
        OvssError: The head does not exist.
    """
    if head is None:
        return maps.mean(dim=1)
    if not 1 <= head <= maps.shape[1]:
        raise OvssError(f"head {head} does not exist; the layer has heads 1 to {maps.shape[1]}")
    return maps[:, head - 1]


def attention_map(attention: torch.Tensor, head: int | None) -> torch.Tensor:
    """Cross-attention as salience (step 2).

    Args:
        attention: (R, A, T, 1+P) probabilities, the image's class token first.
        head: 1 to A, or None for the mean over heads.

    Returns:
        (R, T, P) float32 (float64 if so given), without the class token's column; in [0, 1].

    Example:
        >>> attention_map(torch.full((1, 2, 3, 5), 0.2), None).shape
        torch.Size([1, 3, 4])
    """
    return pick_head(attention_heads(attention), head)


def attention_heads(attention: torch.Tensor) -> torch.Tensor:
    """The same for every head: (R, A, T, P)."""
    return _widen(attention.detach())[..., 1:]


def attention_gradient(match: Match, score: str = "match") -> torch.Tensor:
    """Derivative of the match score by the attention probabilities (step 3).

    Rows do not depend on each other, so one backward pass serves all of them.

    Args:
        match: A match made with `gradient=True`.
        score: `"match"` differentiates the match logit, `"margin"` the match logit minus the
            no-match logit.

    Returns:
        (R, A, T, 1+P) in the model's type. The match's graph is used up.
    """
    (gradient,) = _derivatives(match.logits, (match.attention,), score)
    return gradient


def layer_gradients(match: LayerMatch, score: str = "match") -> tuple[torch.Tensor, ...]:
    """The same for every layer of one pass, by one backward pass.

    Args:
        match: Made with `gradient=True`.
        score: See `attention_gradient`.

    Returns:
        L tensors (R, A, T, 1+P) in the model's type. The match's graph is used up.
    """
    return _derivatives(match.logits, match.attention, score)


@own_state()
def _derivatives(
    logits: torch.Tensor, by: Sequence[torch.Tensor], score: str
) -> tuple[torch.Tensor, ...]:
    """Derivatives of the score of (R, 2) logits, summed over rows."""
    # A scalar: torch checks the shape of given weights with its compiler, which is slow to import.
    with torch.enable_grad():
        value = logits[:, 1] if score == "match" else logits[:, 1] - logits[:, 0]
        return torch.autograd.grad(value.sum(), by)


def gradcam_map(attention: torch.Tensor, gradient: torch.Tensor, head: int | None) -> torch.Tensor:
    """GradCAM salience `relu(attention * relu(gradient))` per token (step 3).

    Args:
        attention: (R, A, T, 1+P) probabilities.
        gradient: (R, A, T, 1+P) derivative of the match score by them.
        head: 1 to A, or None for the mean of the heads' maps.

    Returns:
        (R, T, P) float32 (float64 if so given), not negative.

    Example:
        >>> a = torch.tensor([0.2, 0.5, 0.3]).reshape(1, 1, 1, 3)
        >>> gradcam_map(a, torch.tensor([9.0, 2.0, -1.0]).reshape(1, 1, 1, 3), head=1)
        tensor([[[1., 0.]]])
    """
    return pick_head(gradcam_heads(attention, gradient), head)


def gradcam_heads(attention: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The same for every head: (R, A, T, P)."""
    product = _widen(attention.detach()) * _widen(gradient).relu()
    return product.relu()[..., 1:]


def class_maps(
    maps: torch.Tensor, spans: Sequence[Sequence[int]], last_name: str = "mean"
) -> torch.Tensor:
    """Token maps of one prompt to class maps: the mean over each name's tokens.

    Args:
        maps: (T, P) salience per token.
        spans: Token positions of each of the prompt's K names.
        last_name: `"sum"` adds up the tokens of the prompt's last name (released code).

    Returns:
        (K, P).

    Example:
        >>> class_maps(torch.arange(4.0).reshape(4, 1), [[1], [2, 3]]).flatten()
        tensor([1.0000, 2.5000])
    """
    rows = [maps[list(span)].mean(dim=0) for span in spans]
    if rows and last_name == "sum":
        rows[-1] = maps[list(spans[-1])].sum(dim=0)
    return torch.stack(rows)


def token_sum(maps: torch.Tensor, prompt: Prompt, *, with_sep: bool = False) -> torch.Tensor:
    """Salience summed over the class tokens of one prompt: what decides which patches drop.

    Args:
        maps: (T, P) salience per token, T the longest prompt of the batch.
        prompt: Whose tokens count.
        with_sep: Whether the closing special token of a prompt shorter than T counts too
            (released code).

    Returns:
        (P,).
    """
    tokens = [position for span in prompt.spans for position in span]
    length = len(prompt.tokens.ids)
    if with_sep and length < maps.shape[0]:
        tokens.append(length - 1)
    return maps[tokens].sum(dim=0)


def image_maps(
    maps: torch.Tensor, prompts: Sequence[Prompt], config: PnPConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Token maps of one image's prompts to its class maps and their sum over tokens.

    Args:
        maps: (R, T, P) salience per prompt and token.
        prompts: R prompts, which together name K classes.
        config: Its `last_name` and `drop_sep` are used.

    Returns:
        Class maps (K, P) and the sum over all class tokens (P,).
    """
    pairs = list(zip(maps, prompts, strict=True))
    classes = [class_maps(rows, prompt.spans, config.last_name) for rows, prompt in pairs]
    total = torch.stack([token_sum(r, prompt, with_sep=config.drop_sep) for r, prompt in pairs])
    together = torch.cat([*classes, total.sum(dim=0, keepdim=True)]).cpu().numpy()
    return together[:-1], together[-1]


def round_maps(match: Match, config: PnPConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Salience per token in one round (steps 2 and 3).

    Args:
        match: The texts matched against the images; made with `gradient=True` for GradCAM.
        config: Its `salience`, `head` and `score` are used.

    Returns:
        Attention and salience, both (R, T, P); the same where no gradient is wanted.
    """
    attention = attention_map(match.attention, config.head)
    if config.salience != "gradcam":
        return attention, attention
    gradient = attention_gradient(match, config.score)
    return attention, gradcam_map(match.attention, gradient, config.head)


def random_maps(count: int, patches: int, seed: int) -> torch.Tensor:
    """Uniform random maps (count, patches) in [0, 1): the baseline that knows nothing.

    Example:
        >>> bool((random_maps(2, 9, seed=1) == random_maps(2, 9, seed=1)).all())
        True
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((count, patches), generator=generator)
