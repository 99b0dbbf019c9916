"""An independent baseline: salience of BLIP with the whole graph kept and differentiated.

Plain torch on a model's weights, sharing none of the computation that it is compared with: every
parameter and the pixels require a gradient, attention is computed step by step, the cross-attention
of all text layers is kept with its gradient, and each round is a full pass over image and text.
This is how code of this kind is usually released.

Letters: B images, R prompts, A heads, T text tokens, K classes, P patches, N rounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ovsslib.bench.case import Case
from ovsslib.errors import OvssError
from ovsslib.pnp.prompt import Prompt, build_prompts
from ovsslib.vlm.blip.net import BlipNet


@dataclass(frozen=True)
class Rounds:
    """One image's rounds.

    Attributes:
        maps: (N, K, P) class maps of each round, 0 at patches dropped before.
        dropped: (N, P) bool, patches each round did not see.
        aggregate: (N, P) salience summed over all class tokens, 0 at dropped patches.
    """

    maps: np.ndarray
    dropped: np.ndarray
    aggregate: np.ndarray


class FullGraph:
    """A BLIP whose whole graph is kept.

    Args:
        net: The network whose weights are used (shared, not copied).
        enc: Id of the `[ENC]` token.
    """

    def __init__(self, net: BlipNet, enc: int) -> None:
        self.sizes = net.sizes
        self.enc = enc
        self.weights = {k: v.detach().requires_grad_() for k, v in net.state_dict().items()}

    def attention(
        self, pixels: Tensor, ids: Tensor, mask: Tensor, owner: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """One pass over images and prompts and back from the match logit to everything.

        Args:
            pixels: (B, 3, S, S) normalised.
            ids: (R, T) token ids.
            mask: (R, T) bool, False for padding.
            owner: (R,) image of each prompt.

        Returns:
            Cross-attention of every text layer, (R, A, T, 1+P) each, and its gradients.
        """
        pixels = pixels.clone().requires_grad_()
        ids = ids.clone()
        ids[:, 0] = self.enc
        states, layers = self._text(ids, mask, self._image(pixels)[owner])
        self._linear("itm_head", states[:, 0])[:, 1].sum().backward()
        gradients = [attention.grad for attention in layers if attention.grad is not None]
        for weight in self.weights.values():
            weight.grad = None
        return [attention.detach() for attention in layers], gradients

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, eps)

    def _image(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) to image tokens (B, 1+P, D)."""
        at, sizes = "vision_model.embeddings", self.sizes
        weights, eps = self.weights, sizes.image.eps
        conv = f"{at}.patch_embedding"
        x = functional.conv2d(
            pixels, weights[f"{conv}.weight"], weights[f"{conv}.bias"], stride=sizes.patch
        )
        side = x.shape[-1]
        own = sizes.image_size // sizes.patch
        positions = weights[f"{at}.position_embedding"]
        grid = positions[0, 1:].reshape(1, own, own, -1).permute(0, 3, 1, 2)
        if side != own:
            grid = functional.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
        patches = (x + grid).reshape(len(x), -1, side * side).permute(0, 2, 1)
        first = weights[f"{at}.class_embedding"] + positions[:, :1]
        x = torch.cat([first.repeat(len(x), 1, 1), patches], 1)
        for number in range(sizes.image.layers):
            layer = f"vision_model.encoder.layers.{number}"
            parts = self._linear(
                f"{layer}.self_attn.qkv", self._norm(f"{layer}.layer_norm1", x, eps)
            )
            query, key, value = parts.chunk(3, -1)
            seen, _ = _attend(query, key, value, sizes.image.heads)
            x = x + self._linear(f"{layer}.self_attn.projection", seen)
            inner = self._linear(f"{layer}.mlp.fc1", self._norm(f"{layer}.layer_norm2", x, eps))
            x = x + self._linear(f"{layer}.mlp.fc2", functional.gelu(inner))
        return self._norm("vision_model.post_layernorm", x, eps)

    def _text(self, ids: Tensor, mask: Tensor, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """States (R, T, D) and the cross-attention of every layer, its gradient to be kept."""
        at, eps = "text_encoder.embeddings", self.sizes.text.eps
        words = functional.embedding(ids, self.weights[f"{at}.word_embeddings.weight"])
        positions = self.weights[f"{at}.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(f"{at}.LayerNorm", words + positions, eps)
        layers = []
        for number in range(self.sizes.text.layers):
            layer = f"text_encoder.encoder.layer.{number}"
            x, _ = self._attention(f"{layer}.attention", x, x, mask)
            x, attention = self._attention(f"{layer}.crossattention", x, image, None)
            layers.append(attention)
            inner = functional.gelu(self._linear(f"{layer}.intermediate.dense", x))
            inner = self._linear(f"{layer}.output.dense", inner)
            x = self._norm(f"{layer}.output.LayerNorm", inner + x, eps)
        return x, layers

    def _attention(
        self, name: str, x: Tensor, source: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        query = self._linear(f"{name}.self.query", x)
        key = self._linear(f"{name}.self.key", source)
        value = self._linear(f"{name}.self.value", source)
        seen, attention = _attend(query, key, value, self.sizes.text.heads, mask)
        if mask is None:
            attention.retain_grad()
        seen = self._linear(f"{name}.output.dense", seen)
        return self._norm(f"{name}.output.LayerNorm", seen + x, self.sizes.text.eps), attention


def _attend(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention step by step: (B, T, D) and the probabilities (B, A, T, S)."""
    rows, length, width = query.shape
    q, k, v = (x.reshape(rows, -1, heads, width // heads) for x in (query, key, value))
    scores = torch.einsum("btad,bsad->bats", q, k) / (width // heads) ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
    attention = scores.softmax(-1)
    return torch.einsum("bats,bsad->btad", attention, v).reshape(rows, length, width), attention


def run(case: Case) -> list[Rounds]:
    """Steps 2 to 4 the costly way.

    Args:
        case: Images, class names, a BLIP, and settings of which layer, head,
            rounds, patches and the colour of dropped patches count.

    Returns:
        One result per image.

    Raises:
        OvssError: The model is not a BLIP.
    """
    matcher = case.matcher
    net = getattr(matcher, "model", None)
    if not isinstance(net, BlipNet):
        raise OvssError(f"{matcher.name} is not a BLIP: only BLIP can be compared; choose another")
    enc = matcher.tokenizer.token_to_id("[ENC]")  # type: ignore[attr-defined]
    model = FullGraph(net, net.sizes.vocabulary - 1 if enc is None else enc)
    rounds = []
    for images, classes in case.batches():
        rounds += _batch(model, case, images, classes)
    return rounds


def _batch(
    model: FullGraph, case: Case, images: list[np.ndarray], classes: list[tuple[str, ...]]
) -> list[Rounds]:
    """All rounds of one batch."""
    matcher, config = case.matcher, case.config
    prompts = [
        build_prompts(names, matcher.tokenize, prefix=config.prompt, max_tokens=matcher.max_tokens)
        for names in classes
    ]
    inputs = matcher.preprocess([Image.fromarray(image) for image in images], config.image_size)
    inputs = inputs.to(next(iter(model.weights.values())).dtype)
    rows = [prompt.tokens.ids for mine in prompts for prompt in mine]
    longest = max(map(len, rows))
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(longest) < lengths[:, None]).to(inputs.device)
    padded = [[*row, *[model.sizes.pad] * (longest - len(row))] for row in rows]
    ids = torch.tensor(padded, device=inputs.device)
    owner = torch.tensor([i for i, mine in enumerate(prompts) for _ in mine], device=inputs.device)
    mean, std = torch.tensor(matcher.image_mean), torch.tensor(matcher.image_std)
    colour = (-mean / std if config.drop_value == "black" else 0 * mean).to(inputs)
    side, patch = inputs.shape[-1] // matcher.patch_size, matcher.patch_size
    gone = torch.zeros(len(images), side * side, dtype=torch.bool)
    records: list[list[tuple[np.ndarray, ...]]] = [[] for _ in images]
    for _ in range(config.rounds):
        mosaic = gone.reshape(-1, 1, side, 1, side, 1).expand(-1, 1, -1, patch, -1, patch)
        hidden = mosaic.reshape(len(images), 1, side * patch, side * patch).to(inputs.device)
        seen = torch.where(hidden, colour[:, None, None], inputs)
        layers, gradients = model.attention(seen, ids, mask, owner)
        attention, gradient = (x[config.layer - 1].float() for x in (layers, gradients))
        cam = (attention * gradient.clamp(min=0)).clamp(min=0)[..., 1:]
        tokens = (
            cam.mean(1) if config.head is None else cam[:, config.head - 1]
        ).cpu()  # (R, T, P)
        for index, mine in enumerate(prompts):
            own = tokens[(owner == index).cpu()]
            maps, total = _classes(own, mine)
            maps, total = maps.masked_fill(gone[index], 0), total.masked_fill(gone[index], 0)
            records[index].append((maps.numpy(), gone[index].numpy().copy(), total.numpy()))
            order = total.sort(descending=True, stable=True).indices[: config.patches_per_round]
            gone[index, order[total[order] > 0]] = True
    return [Rounds(*(np.stack(part) for part in zip(*record, strict=True))) for record in records]


def _classes(tokens: Tensor, prompts: list[Prompt]) -> tuple[Tensor, Tensor]:
    """Token maps (R, T, P) of one image to class maps (K, P) and their tokens' sum (P,)."""
    pairs = [
        (row, span) for row, prompt in zip(tokens, prompts, strict=True) for span in prompt.spans
    ]
    maps = torch.stack([row[list(span)].mean(0) for row, span in pairs])
    return maps, torch.stack([row[list(span)].sum(0) for row, span in pairs]).sum(0)
