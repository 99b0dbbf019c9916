"""MaskCLIP (Zhou et al. 2022, ECCV): the value path of CLIP's last layer, patch by patch.

In the last layer each patch keeps its own value, without the attention of the others; it goes
through the output projection, and as MaskCLIP's authors have it through the residual connection and
the feed-forward network, too. Both can be left out, as later work does. Cosines with the texts'
features are the planes.

Letters: B images, K classes, P = h * w patches, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.filters.clip import encode_texts, load_open_clip
from ovsslib.io.images import open_image
from ovsslib.io.json import digest
from ovsslib.lookup import check_fields, check_names, kinds_of
from ovsslib.pnp.refine import peak_scores
from ovsslib.pnp.resample import upsample
from ovsslib.pnp.result import Segmentation
from ovsslib.protocols.adapter import LOGITS
from ovsslib.vlm import open_device
from ovsslib.vlm.finite import check_scores
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    import os

    from torch import Tensor

    from ovsslib.types import ImageLike


@dataclass(frozen=True)
class MaskClipConfig:
    """Settings of MaskCLIP.

    Attributes:
        residual: Whether the residual connection and the feed-forward network of the last layer
            are kept, as in the authors' code.
        prompt: Words before the class's name.
    """

    residual: bool = False
    prompt: str = "a picture of a"

    def __post_init__(self) -> None:
        """Check types."""
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        return dataclasses.asdict(self)

    def hash(self) -> str:
        """Ten hexadecimal characters that change when any field does."""
        return digest(self.to_dict(), 10)


class Clip:
    """A CLIP of open_clip whose image encoder is a plain vision transformer.

    Args:
        name: See `ovsslib.filters.clip.Clip`.
        device: Such as `"cpu"`; None for the best there is.
        download: Whether the network may be used.

    Raises:
        OvssError: The model cannot be had, or is built otherwise.
    """

    dtype = "float32"

    def __init__(self, name: str, device: Any = None, *, download: bool = False) -> None:
        self.device = open_device(device)
        self.name = name.rstrip("/").rsplit("/", 1)[-1]
        self.model, self._prepare = load_open_clip(name, str(self.device), download=download)
        self._source, self._download = name, download
        self._texts: dict[tuple[str, ...], Tensor] = {}
        vision = self.model.visual
        if not hasattr(vision, "transformer") or getattr(vision, "attn_pool", None) is not None:
            raise OvssError(f"{name}: its image encoder is no plain vision transformer")

    def prepare(self, images: Sequence[ImageLike]) -> Tensor:
        """Images as the model takes them, (B, 3, S, S)."""
        return torch.stack([self._prepare(open_image(each)) for each in images]).to(self.device)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features (K, D)."""
        key = tuple(texts)
        if key not in self._texts:
            features = encode_texts(self.model, self._source, texts, download=self._download)
            self._texts[key] = features
        return self._texts[key]


class MaskClip:
    """MaskCLIP with one model, see `ovsslib.pnp.result.Segmenter`; planes are cosines."""

    name = "maskclip"
    planes_are = LOGITS

    def __init__(self, clip: Clip, config: MaskClipConfig | None = None) -> None:
        self.matcher = clip
        self.config = config or MaskClipConfig()

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image."""
        return self.segment_batch([image], [classes], stages=stages)[0]

    @own_state()
    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Find each image's own classes; there are no stages."""
        del stages
        if not images:
            return []
        opened = [open_image(image) for image in images]
        features = self.patches(self.matcher.prepare(opened))
        side = round(features.shape[1] ** 0.5)
        out = []
        for image, patches, classes in zip(opened, features, classes_per_image, strict=True):
            size = (image.height, image.width)
            planes = np.zeros((len(classes), *size), np.float32)
            labels = np.full(size, -1, np.int16)
            if classes:
                prompts = [f"{self.config.prompt} {name}".strip() for name in classes]
                texts = self.matcher.texts(prompts)
                scores = (texts @ patches.T).reshape(len(classes), side, side).cpu().numpy()
                check_scores(scores, self.matcher.name)
                planes = upsample(scores, size)
                labels = planes.argmax(0).astype(np.int16)
            peaks = peak_scores(labels, planes)
            out.append(Segmentation(labels, planes, tuple(classes), 1.0, peaks, np.asarray(image)))
        return out

    def patches(self, pixels: Tensor) -> Tensor:
        """Unit features (B, P, D) of the patches of images (B, 3, S, S)."""
        vision = self.matcher.model.visual
        with torch.no_grad():
            *early, last = vision.transformer.resblocks
            tokens = vision._embeds(pixels)
            for block in early:
                tokens = block(tokens)
            attention, inner = last.attn, last.ln_1(tokens)
            width = inner.shape[-1]
            values = F.linear(
                inner, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
            )
            read = last.ls_1(attention.out_proj(values))
            if self.config.residual:
                read = tokens + read
                read = read + last.ls_2(last.mlp(last.ln_2(read)))
            return F.normalize(vision.ln_post(read)[:, 1:] @ vision.proj, dim=-1)


def build(
    vlm: str | os.PathLike[str] | Clip = "micro-clip",
    preset: str | None = None,
    device: Any = None,
    dtype: str | None = None,
    *,
    download: bool = False,
    **overrides: Any,
) -> MaskClip:
    """MaskCLIP with a model; what `ovsslib.load("maskclip", ...)` calls.

    Args:
        vlm: Name of the CLIP, see `ovsslib.filters.clip.Clip`, or one that is loaded.
        preset: There is none: None.
        device: Such as `"cpu"`; None for the best there is.
        dtype: `"float32"` or None.
        download: Whether the network may be used for a model that is not cached yet.
        **overrides: Fields of `MaskClipConfig`.

    Raises:
        OvssError: The model or a setting is unknown, or not for MaskCLIP.
    """
    if preset is not None or dtype not in (None, "float32"):
        raise OvssError("maskclip has no presets and computes in float32; leave both out")
    check_names("setting", overrides, kinds_of(MaskClipConfig))
    config = MaskClipConfig(**overrides)
    clip = vlm if isinstance(vlm, Clip) else Clip(str(vlm), device, download=download)
    return MaskClip(clip, config)
