"""TCL (Cha et al. 2023, CVPR): a mask for every image and text, learnt so that its region fits.

A frozen CLIP gives the tokens that enter its last layer. A trained copy of that layer, read as
MaskCLIP does (`ovsslib.peers.maskclip`, with residual connection and feed-forward network), and a
decoder that doubles the grid make dense features F. A text t has the mask

    M = sigmoid(w cos(F, t) + b),

and at inference its score is (1 - k) M + k sigmoid(slope (cos(F', t) - centre)), where F' are the
frozen CLIP's own dense features ("knowledge preserving"; k = 0.3). The decoder's gates start at 0:
before training the masks are those of MaskCLIP.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD
from torch import Tensor, nn

from ovsslib.lookup import Share
from ovsslib.peers.dense import DenseClip, DenseConfig
from ovsslib.peers.head import HeadTower
from ovsslib.peers.maskclip import value_path
from ovsslib.peers.method import builder
from ovsslib.peers.parts import open_clip_block
from ovsslib.peers.released import Release, State, count, part, renamed
from ovsslib.pnp.config import Rounds
from ovsslib.pnp.pamr import TCL_DILATIONS, pamr
from ovsslib.protocols.adapter import PROBABILITIES

if TYPE_CHECKING:
    import open_clip


@dataclass(frozen=True)
class TclConfig(DenseConfig):
    """Settings of TCL, besides those of every dense method.

    Attributes:
        mask_pamr: Iterations of PAMR on the masks at their own resolution, with the authors'
            distances, before the frozen CLIP has its say; 0 for none, the authors' other setting
            is 10.
        preserved: Share k of the frozen CLIP in a score.
    """

    prompt: str = "a photo of a"
    mask_pamr: Rounds = 0
    preserved: Share = 0.3


class GatedUp(nn.Module):
    """Doubles a grid: nearest neighbour, then two gated convolutions that start closed.

    Args:
        width: Channels D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, plane: Tensor) -> Tensor:
        """(B, D, h, w) to (B, D, 2h, 2w)."""
        plane = F.interpolate(plane, scale_factor=2, mode="nearest")
        for norm, convolution, gate in zip(self.norms, self.convolutions, self.gates, strict=True):
            normed = norm(plane.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            plane = plane + gate.tanh() * convolution(F.gelu(normed))
        return plane


class TclHead(nn.Module):
    """What TCL adds to a CLIP, starting as MaskCLIP.

    Args:
        clip: Of open_clip.
        ups: How often the decoder doubles the grid: the paper 2 times, at micro size once.

    Attributes:
        slope: Of the logits: w at the start, and the frozen CLIP's; see `calibrate`.
        centre: The cosine whose mask is 0.5, at the start and of the frozen CLIP.
    """

    slope: Tensor
    centre: Tensor

    def __init__(self, clip: open_clip.CLIP, ups: int = 1) -> None:
        super().__init__()
        vision: Any = clip.visual
        self.layers = nn.ModuleList([copy.deepcopy(vision.transformer.resblocks[-1])])
        self.ups = nn.ModuleList(
            GatedUp(vision.transformer.resblocks[-1].ln_1.normalized_shape[0]) for _ in range(ups)
        )
        self.norm = copy.deepcopy(vision.ln_post)
        self.projection = nn.Parameter(vision.proj.detach().float().clone())
        self.requires_grad_(requires_grad=True)
        self.weight, self.bias = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(0.0))
        self.register_buffer("slope", torch.tensor(0.0))
        self.register_buffer("centre", torch.tensor(0.0))
        self.calibrate(10.0, 0.25)

    @torch.no_grad()
    def calibrate(self, slope: float, centre: float) -> None:
        """Set where masks start: the paper's 10 and 0.25 suit the cosines of OpenAI's CLIP."""
        self.slope.fill_(slope)
        self.centre.fill_(centre)
        self.weight.fill_(slope)
        self.bias.fill_(-slope * centre)

    def forward(self, tokens: Tensor, *, locked: bool = False) -> Tensor:
        """Dense features (B, E, H, W).

        Args:
            tokens: (B, 1 + P, D) that enter CLIP's last layer.
            locked: Whether the copy of the last layer gets no gradient.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not locked):
            read = value_path(open_clip_block(self.layers[0]), tokens, residual=True)
        side = math.isqrt(tokens.shape[1] - 1)
        plane = read[:, 1:].mT.unflatten(2, (side, side))
        for up in self.ups:
            plane = up(plane)
        rows = self.norm(plane.permute(0, 2, 3, 1)) @ self.projection
        return rows.permute(0, 3, 1, 2)

    def logits(self, cosines: Tensor) -> Tensor:
        """Logits of masks from cosines, of any shape."""
        return self.weight * cosines + self.bias


_MASKER, _UP = r"masker\.image_encoder", r"decoder\.decoder\.net\.(\d+)"
_NAMES: dict[str, str | None] = {
    r"clip_text_encoder\.(.+)": r"clip.\1",
    r"clip_image_encoder\.clip_visual\.(.+)": r"clip.visual.\1",
    r"clip_image_encoder\.clip_proj\.ln\.(.+)": r"clip.visual.ln_post.\1",
    r"clip_image_encoder\.clip_proj\.proj": "clip.visual.proj",
    rf"{_MASKER}\.backbone\.transformer\.resblocks\.\d+\.(.+)": r"head.layers.0.\1",
    rf"{_MASKER}\.decoder\.image_proj\.ln\.(.+)": r"head.norm.\1",
    rf"{_MASKER}\.decoder\.image_proj\.proj": "head.projection",
    r"masker\.sim2mask\.w": "head.weight",
    r"masker\.sim2mask\.b": "head.bias",
    r"tcl[if]_loss\.logit_scale": None,  # temperatures of the losses
    r"pamr\..+": None,  # constants
}
for _index, _conv in enumerate(("conv", "conv2")):
    _NAMES |= {
        rf"{_MASKER}\.{_UP}\.{_conv}\.norm\.(.+)": rf"head.ups.\1.norms.{_index}.\2",
        rf"{_MASKER}\.{_UP}\.{_conv}\.conv\.(.+)": rf"head.ups.\1.convolutions.{_index}.\2",
        rf"{_MASKER}\.{_UP}\.{_conv}\.gate\.gate": rf"head.ups.\1.gate.{_index}",
    }


def from_released(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The authors' weights under this library's names, and the sizes of `TclHead`.

    The authors' code does not ask for the frozen CLIP in a file, which is OpenAI's ViT-B/16: there
    may be none. Knowledge is preserved with the constants of the paper.

    Raises:
        OvssError: It is no TCL.
    """
    weights = renamed(state, _NAMES, "TCL")
    ups = count(weights, "head.ups.")
    for up in range(ups):
        gates = [f"head.ups.{up}.gate.{index}" for index in range(2)]
        if all(name in weights for name in gates):
            weights[f"head.ups.{up}.gates"] = torch.stack([weights.pop(name) for name in gates])
    if part(weights, "clip."):
        weights["clip.logit_scale"] = torch.tensor(math.log(100))  # OpenAI's; TCL does not use it
    weights |= {"head.slope": torch.tensor(10.0), "head.centre": torch.tensor(0.25)}
    return weights, {"ups": ups}


class TclTower(HeadTower):
    """A CLIP with TCL's head."""

    system, head_class = "tcl", TclHead
    # The authors trained with ImageNet's colours, not with those of their CLIP.
    release = Release("TCL", "tcl.pth", from_released, (IMAGENET_MEAN, IMAGENET_STD))


class Tcl(DenseClip):
    """TCL; planes are probabilities."""

    name = "tcl"
    planes_are = PROBABILITIES
    settings = TclConfig
    matcher: Any

    def planes(self, pixels: Tensor, texts: Sequence[Tensor]) -> list[Tensor]:
        """Scores (K, H, W) of images, H and W those of the decoder."""
        tower, head, config = self.matcher, self.matcher.head, self.config
        tokens = tower.enter(pixels)
        dense = F.normalize(head(tokens.float()), dim=1)
        plain = value_path(tower.parts.blocks[-1], tokens, residual=True)
        plain = F.normalize(tower.parts.project(plain)[:, 1:].float(), dim=-1)
        side = math.isqrt(plain.shape[1])
        colours = F.interpolate(
            tower.colours(pixels), dense.shape[-2:], mode="bilinear", align_corners=False
        )
        out = []
        for own, frozen, colour, named in zip(dense, plain, colours, texts, strict=True):
            masks = head.logits(torch.einsum("ke,ehw->khw", named, own)).sigmoid()
            masks = pamr(masks, colour, iterations=config.mask_pamr, dilations=TCL_DILATIONS)
            kept = (head.slope * ((named @ frozen.mT) - head.centre)).sigmoid()
            kept = F.interpolate(
                kept.unflatten(1, (side, side))[None],
                masks.shape[-2:],
                mode="bilinear",
                align_corners=False,
            )[0]
            out.append(torch.lerp(masks, kept, config.preserved))
        return out


build = builder(Tcl, TclTower)
