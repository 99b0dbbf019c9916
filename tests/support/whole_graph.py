"""Logits, attention and gradient by transformers alone: everything in one graph."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from support.tiny_blip2 import QUERIES


def bridgetower_graph(theirs: Any, layer: int, **inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, attention and its gradient by transformers alone: all of it in one graph."""
    kept: list[Tensor] = []
    cross = theirs.bridgetower.cross_modal_text_layers[layer - 1].crossattention.self

    def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        outputs[1].retain_grad()
        kept.append(outputs[1])

    handle = cross.register_forward_hook(keep)
    try:
        logits = theirs(**inputs, interpolate_pos_encoding=True).logits
    finally:
        handle.remove()
    theirs.zero_grad()
    logits[:, 1].sum().backward()
    assert kept[0].grad is not None
    assert theirs.bridgetower.text_model.embeddings.word_embeddings.weight.grad.abs().max() > 0
    return logits.detach(), kept[0].detach(), kept[0].grad


def blip2_graph(theirs: Any, index: int, **inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, composed attention and its gradient by transformers alone: all of it in one graph."""
    kept: dict[str, Tensor] = {}

    def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, Tensor], name: str) -> None:
        outputs[1].retain_grad()
        kept[name] = outputs[1]

    layers = theirs.qformer.encoder.layer
    watched = {
        "looks": layers[index].crossattention.attention,
        "reads": layers[index + 1].attention.attention,
    }
    handles = [
        module.register_forward_hook(partial(keep, name=name)) for name, module in watched.items()
    ]
    try:
        logits = theirs(**inputs, use_image_text_matching_head=True).logits_per_image
    finally:
        for handle in handles:
            handle.remove()
    theirs.zero_grad()
    logits[:, 1].sum().backward()
    slope = kept["looks"].grad
    assert slope is not None
    assert theirs.embeddings.word_embeddings.weight.grad.abs().max() > 0
    looks, reads = kept["looks"].detach(), kept["reads"].detach()
    assert torch.allclose(looks.sum(-1), torch.ones((), dtype=looks.dtype), atol=1e-5)
    reads = reads[:, :, QUERIES:, :QUERIES].mean(dim=1)
    # Written out with one axis per letter; the network never makes this tensor.
    parts = reads[:, None, :, :, None] * looks[:, :, None]  # (R, A, T, Q, 1+P)
    composed = parts.sum(dim=3)
    return logits.detach(), composed, (parts * slope[:, :, None]).sum(dim=3) / composed


def slopes(match: Any) -> Tensor:
    return torch.autograd.grad(match.logit.sum(), match.attention, retain_graph=True)[0]


def check_batch(matcher: Any, pixels: Tensor, texts: list[Any], *, gradient: bool) -> Any:
    """A batch gives what its images give alone; padding has no say in the match."""
    assert len({len(text.ids) for text in texts}) > 1
    together = matcher.match(matcher.encode_images(pixels), texts, 1, gradient=gradient)
    for row, text in enumerate(texts):
        tokens = matcher.encode_images(pixels[row : row + 1])
        alone = matcher.match(tokens, [text], 1, gradient=gradient)
        length = len(text.ids)
        assert torch.allclose(alone.logits[0], together.logits[row], atol=1e-5)
        assert torch.allclose(alone.probability[0], together.probability[row], atol=1e-5)
        assert torch.allclose(alone.attention[0], together.attention[row, :, :length], atol=1e-5)
        if gradient:
            slope = slopes(together)[row]
            assert torch.allclose(slopes(alone)[0], slope[:, :length], atol=1e-5)
            assert (slope[:, length:] == 0).all()
    return together


def leaves(node: Any) -> set[Tensor]:
    """All tensors at which a graph ends."""
    found, seen, todo = set(), set(), [node]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            found |= {node.variable} if hasattr(node, "variable") else set()
            todo.extend(parent for parent, _ in node.next_functions)
    return found
