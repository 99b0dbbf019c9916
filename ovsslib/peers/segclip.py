"""SegCLIP (Luo et al. 2023, ICML): a CLIP whose last layers work on regions in place of patches.

Patches pass all layers but the last ones. Learned centres then look at them twice and gather them,
each patch by one centre (hard, with Gumbel noise while training):

    R = C k^T, A = one-hot over centres of R, U = A v / max(sum of A, 1),
    out = QuickGELU(MLP(LN(C + U))),

with k and v grouped 1 x 1 convolutions of the patches (a group for each head). There is no
1 / sqrt(d). The last layer works on the centres (in the authors' network the last two). An image is
the maximum over them, feature by feature; a pixel has the scores of the centre that it belongs to
most, by GroupViT's rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.peers.groupvit import PUBLISHED, GroupVit
from ovsslib.peers.head import HeadTower
from ovsslib.peers.method import builder
from ovsslib.peers.released import Release, State, count, part, renamed
from ovsslib.vlm.weights import shape_of

if TYPE_CHECKING:
    import open_clip

TAU = 0.9
"""Temperature of the hard assignment."""


class Cross(nn.Module):
    """Centres look at themselves and at patches.

    Args:
        width: D.
        heads: Of the attention.
        quick: Whether the feed-forward network has QuickGELU.
    """

    def __init__(self, width: int, heads: int, *, quick: bool = False) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width),
            QuickGELU() if quick else nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, centres: Tensor, patches: Tensor) -> Tensor:
        """Centres (B, C, D) to others, given patches (B, P, D)."""
        both = self.norms[1](torch.cat([centres, patches], dim=1))
        seen, _ = self.attention(self.norms[0](centres), both, both, need_weights=False)
        centres = centres + seen
        out: Tensor = centres + self.feed(self.norms[2](centres))
        return out


class SegClipHead(nn.Module):
    """What gathers patches into regions.

    Args:
        clip: Of open_clip; its sizes are used.
        centres: How many regions there are.
        cross: Layers in which centres look at patches.
        after: How many of CLIP's last layers work on the regions.
        released: Whether it is built as the authors' network: the layers in which centres look at
            patches have QuickGELU, and the centres are normalised after them.
    """

    def __init__(
        self,
        clip: open_clip.CLIP,
        *,
        centres: int = 8,
        cross: int = 2,
        after: int = 1,
        released: bool = False,
    ) -> None:
        super().__init__()
        self.after = after
        last: Any = clip.visual.transformer.resblocks[-1]
        width, heads = last.attn.embed_dim, last.attn.num_heads
        self.centres = nn.Parameter(0.02 * torch.randn(centres, width))
        self.layers = nn.ModuleList(Cross(width, heads, quick=released) for _ in range(cross))
        self.norm_centres = nn.LayerNorm(width) if released else nn.Identity()
        self.norm, self.norm_keys, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.keys, self.values = (
            nn.Conv1d(width, width, 1, groups=heads, bias=False) for _ in range(2)
        )
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions of images; hard assignments have noise while training.

        Args:
            patches: (B, P, D).

        Returns:
            Regions (B, C, D), and how they share the patches (B, C, P): hard, and softly.
        """
        centres = self.centres.expand(len(patches), -1, -1).to(patches)
        for layer in self.layers:
            centres = layer(centres, patches)
        centres = self.norm_centres(centres)
        rows = self.norm(patches).mT
        keys, values = self.norm_keys(self.keys(rows).mT), self.values(rows).mT
        raw = (centres @ keys.mT).float()
        soft = raw.softmax(1)
        if self.training:
            hard = F.gumbel_softmax(raw, tau=TAU, hard=True, dim=1)
        else:
            hard = F.one_hot(raw.argmax(1), raw.shape[1]).mT.to(soft)
        share = hard.to(values)
        gathered = share @ values / share.sum(-1, keepdim=True).clamp(min=1)
        out = self.outer(F.gelu(self.inner(self.norm_out(centres + gathered))))
        return QuickGELU()(out), hard, soft


def regions(tower_model: open_clip.CLIP, head: SegClipHead, tokens: Tensor) -> tuple[Tensor, ...]:
    """What CLIP's last layers make of the regions of patches.

    Args:
        tower_model: The CLIP.
        head: What gathers patches.
        tokens: (B, P, D), patches that leave the layer before them.

    Returns:
        Features (B, C, E) of regions and (B, E) of the image, both of any length, and the hard and
        soft shares, see `SegClipHead.forward`.
    """
    vision: Any = tower_model.visual
    gathered, hard, soft = head(tokens.float())
    out = gathered.to(tokens.dtype)
    for block in vision.transformer.resblocks[-head.after :]:
        out = block(out)
    every = torch.cat([out, out.amax(1, keepdim=True)], dim=1)
    features = vision.ln_post(every) @ vision.proj
    return features[:, :-1], features[:, -1], hard, soft


_IMAGE = r"clip\.visual\.transformer"
_REGIONS = rf"{_IMAGE}\.semantic_layer2"
_CROSS = rf"{_REGIONS}\.cross_att\.(\d+)"
_NAMES: dict[str, str | None] = {
    rf"{_IMAGE}\.layers0\.(\d+\..+)": r"clip.visual.transformer.resblocks.\1",
    rf"{_IMAGE}\.layers2\.(\d+\..+)": r"after.\1",
    rf"{_REGIONS}\.semantic_center": "head.centres",
    rf"{_CROSS}\.attn\.(.+)": r"head.layers.\1.attention.\2",
    rf"{_CROSS}\.ln_x\.(.+)": r"head.layers.\1.norms.0.\2",
    rf"{_CROSS}\.ln_k\.(.+)": r"head.layers.\1.norms.1.\2",
    rf"{_CROSS}\.ln_2\.(.+)": r"head.layers.\1.norms.2.\2",
    rf"{_CROSS}\.mlp\.c_fc\.(.+)": r"head.layers.\1.feed.0.\2",
    rf"{_CROSS}\.mlp\.c_proj\.(.+)": r"head.layers.\1.feed.2.\2",
    rf"{_REGIONS}\.cross_ln\.(.+)": r"head.norm_centres.\1",
    rf"{_REGIONS}\.norm\.(.+)": r"head.norm.\1",
    rf"{_REGIONS}\.k_conv\.(.+)": r"head.keys.\1",
    rf"{_REGIONS}\.k_ln\.(.+)": r"head.norm_keys.\1",
    rf"{_REGIONS}\.v_conv\.(.+)": r"head.values.\1",
    rf"{_REGIONS}\.proj_o\.ln\.(.+)": r"head.norm_out.\1",
    rf"{_REGIONS}\.proj_o\.mlp\.fc1\.(.+)": r"head.inner.\1",
    rf"{_REGIONS}\.proj_o\.mlp\.fc2\.(.+)": r"head.outer.\1",
    # What rebuilds hidden patches and words while training.
    rf"{_IMAGE}\.(layers_mae2|reconstruct_layer2)\..+": None,
    r"(vis|seq)_mae_decoder\..+": None,
    r"clip\.(?!visual\.transformer\.)(.+)": r"clip.\1",
}


def from_released(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The authors' weights under this library's names, and the sizes of `SegClipHead`.

    Raises:
        OvssError: It is no SegCLIP.
    """
    weights = renamed(state, _NAMES, "SegCLIP")
    layers = "clip.visual.transformer.resblocks."
    before, after = count(weights, layers), count(weights, "after.")
    if not after:
        raise OvssError("it has no layers on regions (clip.visual.transformer.layers2)")
    for name in part(weights, "after."):
        number, _, rest = name.partition(".")
        weights[f"{layers}{before + int(number)}.{rest}"] = weights.pop(f"after.{name}")
    centres = shape_of(weights, "head.centres", 2)[0]
    cross = count(weights, "head.layers.")
    return weights, {"centres": centres, "cross": cross, "after": after, "released": True}


class SegClipTower(HeadTower):
    """A CLIP that was trained with SegCLIP's regions; it lies in the same folder."""

    system, head_class = "segclip", SegClipHead
    release = Release("SegCLIP", "segclip.bin", from_released)
    head: Any

    def groups(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Regions of images, see `ovsslib.peers.groupvit.GroupTower.groups`."""
        features, whole, _, soft = regions(self.model, self.head, patches_before_last(self, pixels))
        side = pixels.shape[-1] // self.parts.patch
        units = F.normalize(features.float(), dim=-1)
        return units, F.normalize(whole.float(), dim=-1), soft.unflatten(2, (side, side))


def patches_before_last(tower: SegClipTower, pixels: Tensor) -> Tensor:
    """Patches (B, P, D) that leave the layers before those on regions; no class token is seen."""
    tokens = tower.embed(pixels)[:, 1:]
    for block in tower.parts.blocks[: -tower.head.after]:
        tokens = block.whole(tokens)
    return tokens


class SegClip(GroupVit):
    """SegCLIP; planes are products of probabilities."""

    name = "segclip"
    published: ClassVar[Mapping[str, float]] = dict(zip(PUBLISHED, (0.8, 0.25, 0.65), strict=True))


build = builder(SegClip, SegClipTower)
