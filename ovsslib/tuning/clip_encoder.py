"""CLIP's image encoder as the reward uses it: on a CPU, much faster than open_clip runs it.

Same weights, same sums: weights are laid out once, the activation is part of the product before it,
and the last block computes only the token that is read. In bfloat16, what rounding would hurt most
stays float32: patches and the running sum. What bfloat16 leaves open, float32 decides; see
`unsure`.

Letters: N images, S side in pixels, T tokens, P patches, W width, A heads, E = W / A, D features.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovsslib.vlm.linear import ROWS, packs

TOLERANCE = 0.012
"""Margins in bfloat16 closer to 0 than this times CLIP's scale are computed again; see `unsure`.

Three times the largest error of micro-clip's 16066 margins, 0.004 (root mean square 0.0004): 8033
masks by both micro models for images of Diorama's tune split, with a softmax over the data set's
and over the image's classes.
"""
_NOTHING = ("none", "")  # no activation
_SAME = 1e-4  # relative; float32 sums in another order differ by about 1e-6
_RANGE = (1e-30, 1e30)  # sums of exponentials within it lose nothing
_SCORES = 4 << 20  # bytes of attention scores at a time, so that they stay in the cache


class Tower:
    """Image features of a CLIP.

    Args:
        model: Of open_clip, in evaluation; it is left as it is. One that is not understood, or not
            on a CPU, is called as it is, in its own precision.
        dtype: Float32, or bfloat16, which is faster and rounds. A model that rounding changes
            by more than `TOLERANCE` allows for is called as it is.

    Attributes:
        own: Whether features are computed here, not by open_clip.

    Example:
        >>> from ovsslib.filters.clip import load_open_clip
        >>> clip, _ = load_open_clip("micro-clip")
        >>> picture = torch.zeros(1, 3, 96, 96)
        >>> torch.allclose(Tower(clip)(picture), clip.encode_image(picture), atol=1e-5)
        True
    """

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        self._model = model
        self._encoder: _Encoder | None = None
        if _understood(model, dtype):
            with torch.inference_mode():
                self._encoder = _Encoder(model.visual, dtype)
        if self._encoder is not None and not self._agrees(dtype):
            self._encoder = None
        self.own = self._encoder is not None

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        """Features (N, D) float32, not normalised, of one or more images (N, 3, S, S)."""
        if self._encoder is None:
            found: Tensor = self._model.encode_image(pictures)
            return found
        return self._encoder(pictures)

    @torch.inference_mode()
    def _agrees(self, dtype: torch.dtype) -> bool:
        """Whether images of noise, some half blank, have the features that open_clip finds."""
        side = self._model.visual.image_size
        noise = torch.randn(4, 3, *side, generator=torch.Generator().manual_seed(0))
        noise[2:, :, : side[0] // 2] = 0
        wanted, found = self._model.encode_image(noise), self(noise)
        apart = (found - wanted).norm(dim=-1) / wanted.norm(dim=-1)
        # Texts have length 1: a margin moves by about twice this times the scale at most.
        return bool(apart.max() <= (_SAME if dtype == torch.float32 else TOLERANCE / 2))


def fast_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; else float32 alone is faster."""
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(known and known()) and packs(torch.bfloat16, torch.device("cpu"))


def unsure(margins: Tensor, scale: float) -> Tensor:
    """Which margins bfloat16 is too coarse to tell the sign of.

    Args:
        margins: Any shape; differences of logarithms of probabilities, from features in bfloat16.
        scale: What CLIP multiplies cosines by, `logit_scale.exp()`; margins' errors grow with it.

    Returns:
        bool of the same shape: True where float32 must decide, also for what is not a number.

    Example:
        >>> unsure(torch.tensor([0.5, -0.1, 0.1, torch.nan]), scale=10).tolist()
        [False, True, True, True]
    """
    return ~(margins.abs() >= TOLERANCE * scale)


def _understood(model: Any, dtype: torch.dtype) -> bool:
    """Whether a model is made of nothing but what `_Encoder` computes."""
    from open_clip.transformer import PatchDropout, ResidualAttentionBlock, VisionTransformer

    visual: Any = getattr(model, "visual", None)
    if type(visual) is not VisionTransformer or visual.training:
        return False
    weights = list(visual.parameters())
    if not packs(dtype, weights[0].device) or any(w.dtype != torch.float32 for w in weights):
        return False
    blocks = list(visual.transformer.resblocks)
    return (
        bool(blocks)
        and visual.attn_pool is None
        and visual.pool_type in ("tok", "avg")
        and not visual.output_tokens
        and type(visual.patch_dropout) in (nn.Identity, PatchDropout)
        and isinstance(visual.ln_post, nn.LayerNorm)
        and isinstance(visual.ln_pre, nn.LayerNorm | nn.Identity)
        and all(type(block) is ResidualAttentionBlock and _plain(block) for block in blocks)
    )


def _plain(block: Any) -> bool:
    """Whether a block has the usual attention and an activation that can be fused."""
    attention, hidden = block.attn, block.mlp
    return (
        type(attention) is nn.MultiheadAttention
        and attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not hasattr(block, "ln_1_kv")
        and isinstance(block.ln_1, nn.LayerNorm)
        and isinstance(block.ln_2, nn.LayerNorm)
        and len(hidden) == 3
        and _activation(hidden[1]) is not None
    )


def _activation(layer: nn.Module) -> tuple[str, str, float] | None:
    """An activation's names in oneDNN, and c where it is oneDNN's of c x, over c."""
    from open_clip.transformer import QuickGELU

    if type(layer) is nn.GELU:
        return "gelu", layer.approximate, 1.0
    # x sigmoid(c x) is swish(c x) / c.
    return ("swish", "", 1.702) if type(layer) is QuickGELU else None


class _Product:
    """A linear layer with its weight laid out for one type, and an activation after it."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        dtype: torch.dtype,
        after: tuple[str, str] = _NOTHING,
    ) -> None:
        given = weight.detach().to(dtype).contiguous()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(given, ROWS)
        self._bias = None if bias is None else bias.detach().to(dtype)
        self._after, self._algorithm = after

    def __call__(self, states: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, self._weight, self._bias, self._after, [], self._algorithm
        )
        return found


def _scaled(
    layer: Any,
    dtype: torch.dtype,
    *,
    before: float = 1.0,
    by: Tensor | float = 1.0,
    after: tuple[str, str] = _NOTHING,
) -> _Product:
    """A linear layer of its input times `before`, whose output is multiplied by `by`."""
    weight = layer.weight.t() * before * by  # (I, O): `by` may have a value an output
    return _Product(weight.t(), None if layer.bias is None else layer.bias * by, dtype, after)


class _Block:
    """A transformer block.

    Args:
        block: open_clip's.
        dtype: Of the products; sums are float32.
        first: Whether only the first token is read afterwards.
    """

    def __init__(self, block: Any, dtype: torch.dtype, first: bool) -> None:
        self._dtype, self._norms, inner = dtype, (block.ln_1, block.ln_2), block.attn
        self._heads, self._width = inner.num_heads, inner.embed_dim
        # Queries are scaled beforehand; those in bfloat16 for powers of 2, see `_attend`.
        unit = 1.0 if dtype == torch.float32 else math.log2(math.e)
        rows = torch.ones(3 * self._width)
        rows[: self._width] = unit * (self._width // self._heads) ** -0.5
        weight, bias = inner.in_proj_weight * rows[:, None], inner.in_proj_bias * rows
        cut = self._width if first else 0
        self._project = _Product(weight[cut:], bias[cut:], dtype)
        self._query = _Product(weight[:cut], bias[:cut], dtype) if first else None
        # What scales a branch's output is made part of its last product.
        one, two = (getattr(layer, "gamma", 1.0) for layer in (block.ls_1, block.ls_2))
        name, algorithm, c = _activation(block.mlp[1]) or (*_NOTHING, 1.0)
        self._out = _scaled(inner.out_proj, dtype, by=one)
        self._hidden = _scaled(block.mlp[0], dtype, by=c, after=(name, algorithm))
        self._last = _scaled(block.mlp[2], dtype, before=1 / c, by=two)

    def __call__(self, states: Tensor) -> Tensor:
        """Float32 states (N, T, W) to (N, T, W), or (N, 1, W) if only the first is read."""
        seen = self._norms[0](states).to(self._dtype)
        parts = self._project(seen).split(self._width, dim=2)
        if self._query is not None:
            states = states[:, :1]
            parts = self._query(seen[:, :1]), *parts
        q, k, v = (part.unflatten(2, (self._heads, -1)).transpose(1, 2) for part in parts)
        if self._dtype == torch.float32:
            mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        else:
            mixed = _attend(q, k, v)
        states = states + self._out(mixed.transpose(1, 2).flatten(2))
        return states + self._last(self._hidden(self._norms[1](states).to(self._dtype)))


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """(N, A, T, E) of queries scaled for powers of 2: fewer passes over scores than a softmax."""
    q, k, v = (part.flatten(0, 1) for part in (queries, keys, values))
    mixed = torch.empty(q.shape, dtype=q.dtype)
    step = max(1, _SCORES // (q.shape[1] * k.shape[1] * q.element_size()))
    for start in range(0, len(q), step):
        some = slice(start, start + step)
        powers = torch.bmm(q[some], k[some].transpose(1, 2)).exp2_()
        total = powers.sum(2, keepdim=True)
        low, high = torch.aminmax(total)
        if not (low > _RANGE[0] and high < _RANGE[1]):
            # Here the largest score must be taken off first, as a softmax does.
            powers = (torch.bmm(q[some], k[some].transpose(1, 2)) * math.log(2)).softmax(2)
            total = torch.ones_like(total)
        torch.div(torch.bmm(powers, v[some]), total, out=mixed[some])
    return mixed.view(queries.shape)


class _Encoder:
    """An open_clip `VisionTransformer` that is `_understood`."""

    def __init__(self, visual: Any, dtype: torch.dtype) -> None:
        place = visual.positional_embedding.detach()
        self._patch, self._place = visual.patch_size, place[1:]
        self._embed = _Product(visual.conv1.weight.flatten(1), None, torch.float32)
        self._ln_pre, self._ln_post = visual.ln_pre, visual.ln_post
        self._first, self._norm_last = visual.pool_type == "tok", visual.final_ln_after_pool
        self._proj = None if visual.proj is None else visual.proj.detach()
        blocks = list(visual.transformer.resblocks)
        self._blocks = [_Block(b, dtype, self._first and b is blocks[-1]) for b in blocks]
        self._class = self._ln_pre(visual.class_embedding.detach() + place[0])

    def __call__(self, pictures: Tensor) -> Tensor:
        """Features (N, D) of images (N, 3, S, S)."""
        states = self._ln_pre(self._embed(self._cut(pictures)) + self._place)
        states = torch.cat([self._class.expand(len(states), 1, -1), states], dim=1)
        for block in self._blocks:
            states = block(states)
        if not self._norm_last:
            states = self._ln_post(states)
        pooled = states[:, 0] if self._first else states[:, 1:].mean(1)
        if self._norm_last:
            pooled = self._ln_post(pooled)
        return pooled if self._proj is None else pooled @ self._proj

    def _cut(self, pictures: Tensor) -> Tensor:
        """Images (N, 3, S, S) to patches (N, P, 3 x pixels)."""
        high, wide = self._patch
        cut = pictures.float().unflatten(3, (-1, wide)).unflatten(2, (-1, high))
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
