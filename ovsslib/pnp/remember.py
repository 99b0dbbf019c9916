"""A matcher that remembers: the same pixels and texts are computed once, for all layers and heads.

With it the whole method can be run again and again on one image, with other settings, at the cost
of refinement alone: what a slider needs.

Letters: B images, R image-text pairs, L layers, A heads, T text tokens, P patches, D features.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ovsslib.vlm.protocol import Match
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher, Tokens

MOST = 32
"""Passes that are remembered; the oldest is forgotten first."""


class RememberingMatcher:
    """A matcher in front of another; what it does not remember, the other computes.

    Args:
        matcher: A model that gives all layers at once (`match_layers`).
    """

    def __init__(self, matcher: ImageTextMatcher) -> None:
        self.matcher: Any = matcher
        self._images: OrderedDict[Hashable, torch.Tensor] = OrderedDict()
        self._passes: OrderedDict[Hashable, tuple[torch.Tensor, ...]] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        """What else a matcher has: sizes, tokenizer, preparation of images."""
        return getattr(self.matcher, name)

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image tokens (B, 1+P, D) of pixels (B, 3, S, S)."""
        return _recall(self._images, _key(pixels), lambda: self.matcher.encode_images(pixels))

    @own_state()
    def match(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layer: int, *, gradient: bool = False
    ) -> Match:
        """As `ovsslib.vlm.matcher.Matcher.match`.

        The graph from attention to logits is a stand-in with the same derivatives: the attention
        times what one backward pass gave.
        """
        ids = tuple(text.ids for text in texts)
        key = (_key(tokens), ids, gradient)
        parts = _recall(self._passes, key, lambda: self._read(tokens, texts, gradient))
        logits, attention, *slopes = parts
        watched = attention[layer - 1].clone().requires_grad_(gradient)
        if not gradient:
            return Match(logits=logits, attention=watched)
        with torch.enable_grad():
            parts = [(watched * slope[layer - 1]).flatten(1).sum(1) for slope in slopes]
            change = torch.stack(parts, dim=1)
            return Match(logits=logits + change - change.detach(), attention=watched)

    def _read(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], gradient: bool
    ) -> tuple[torch.Tensor, ...]:
        """Logits (R, 2), attention (L, R, A, T, 1+P), and for each logit its derivative by it."""
        match = self.matcher.match_layers(tokens, texts, gradient=gradient)
        slopes = []
        for column in range(2 if gradient else 0):
            with torch.enable_grad():
                value = match.logits[:, column].sum()
                found = torch.autograd.grad(value, match.attention, retain_graph=column == 0)
            slopes.append(torch.stack(found))
        attention = torch.stack([each.detach() for each in match.attention])
        return match.logits.detach(), attention, *slopes


def _key(values: torch.Tensor) -> Hashable:
    """What tells tensors apart: shape, type and all numbers."""
    plain = values.detach().cpu().contiguous()
    content = plain.view(torch.uint8).numpy().tobytes()
    return plain.dtype, tuple(plain.shape), hashlib.sha256(content).digest()


def _recall(store: OrderedDict[Hashable, Any], key: Hashable, make: Any) -> Any:
    """The remembered value, or a new one in the place of the oldest."""
    if key not in store:
        store[key] = make()
        if len(store) > MOST:
            store.popitem(last=False)
    return store[key]
