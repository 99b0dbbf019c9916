"""A self-supervised vision transformer (DINO and its like) through timm, in parts.

Letters: B images, P = h * h patches, D width of a token, A heads, d = D / A, S side in pixels.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ovsslib.errors import OvssError
from ovsslib.io.download import hub_folder
from ovsslib.vlm import local_folder, open_device
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.sizes import read_config
from ovsslib.vlm.state import own_state
from ovsslib.vlm.weights import check_size, read_weights

if TYPE_CHECKING:
    from torch import Tensor

MICRO_DINO = "micro-dino"
"""The model that the project trains itself."""

_ADVICE = (
    f"give {MICRO_DINO} (ovss train {MICRO_DINO}), a folder with timm's config.json and "
    "model.safetensors, or a name of timm such as vit_base_patch16_224.dino; what is not on this "
    "machine needs download=True"
)


@dataclass(frozen=True)
class DinoFeatures:
    """What the last layer makes of images; patches row by row, prefix tokens left out.

    Attributes:
        tokens: (B, P, D), the layer's output after the last normalisation.
        queries: (B, A, P, d) of the layer's attention.
        keys: The same.
        values: The same.
    """

    tokens: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor


class Dino:
    """A plain vision transformer of timm, frozen and in float32.

    Args:
        name: See `locate`.
        device: Such as `"cpu"`; None for the best there is.
        download: Whether the network may be used.

    Attributes:
        name: Without its folder.
        model: timm's module.
        patch: Side of a patch in pixels.

    Raises:
        OvssError: The model cannot be had, is damaged, or is no plain vision transformer.
    """

    def __init__(self, name: str, device: Any = None, *, download: bool = False) -> None:
        folder = locate(name, download=download)
        self.name = name.rstrip("/").rsplit("/", 1)[-1]
        self.model = load(folder, name, open_device(device))
        self.patch: int = self.model.patch_embed.patch_size[0]
        colours = self.model.pretrained_cfg
        self._mean, self._std = (
            torch.tensor(colours[key], device=self.model.pos_embed.device).view(3, 1, 1)
            for key in ("mean", "std")
        )

    def grid(self, side: int) -> int:
        """Patches along a side of images of `side` pixels, at least 1."""
        return max(1, round(side / self.patch))

    def features(self, colours: Tensor) -> DinoFeatures:
        """The last layer's features of images.

        Images whose side is no multiple of the patch's are resized (bilinear) to the nearest one.
        Positions are those of training, interpolated by timm.

        Args:
            colours: (B, 3, S, S) in 0..1, not normalised.
        """
        size = (self.grid(colours.shape[-1]) * self.patch,) * 2
        if colours.shape[-2:] != size:
            colours = F.interpolate(colours, size, mode="bilinear", align_corners=False)
        model = self.model
        patches = model.patch_embed((colours - self._mean) / self._std)
        tokens = model.norm_pre(model._pos_embed(patches))
        *early, last = model.blocks
        for block in early:
            tokens = block(tokens)
        attention = last.attn
        packed = attention.qkv(last.norm1(tokens)).unflatten(-1, (3, attention.num_heads, -1))
        queries, keys, values = packed[:, model.num_prefix_tokens :].permute(2, 0, 3, 1, 4)
        return DinoFeatures(
            tokens=model.norm(last(tokens))[:, model.num_prefix_tokens :],
            queries=attention.q_norm(queries),
            keys=attention.k_norm(keys),
            values=values,
        )


def on_grid(features: Tensor, side: int) -> Tensor:
    """Features of patches for another grid, bilinear.

    Args:
        features: (..., P, E) of h * h patches.
        side: Patches along a side of the other grid.

    Returns:
        (..., side * side, E).
    """
    old = math.isqrt(features.shape[-2])
    if old == side:
        return features
    rows = features.flatten(0, -3).mT.unflatten(-1, (old, old))
    resized = F.interpolate(rows, (side, side), mode="bilinear", align_corners=False)
    return resized.flatten(-2).mT.unflatten(0, features.shape[:-2])


def locate(name: str, *, download: bool = False) -> Path:
    """The folder of a model in timm's hub format.

    Args:
        name: `"micro-dino"`, a folder, a name of timm with its weights (such as
            `vit_base_patch14_reg4_dinov2.lvd142m`), or a hub id (`owner/name`).
        download: Whether the network may be used for the last two.

    Raises:
        OvssError: There is no such model here.
    """
    found = local_folder(name)
    if found is not None:
        return found
    try:
        return hub_folder(_hub_id(name), download=download)
    except OvssError as error:
        raise OvssError(f"DINO {error}; {_ADVICE}") from error


def _hub_id(name: str) -> str:
    """The hub id of a name of timm; a hub id itself stays."""
    import timm

    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    try:
        known = None if "/" in name else timm.get_pretrained_cfg(name)
    except RuntimeError:  # the architecture is known, the weights are not
        known = None
    if known is None or not known.hf_hub_id:
        raise OvssError(f"model {name!r} is not on this machine")
    return str(known.hf_hub_id)


@own_state()
def load(folder: Path, name: str, device: torch.device) -> Any:
    """A module of timm out of a folder, frozen.

    Args:
        folder: From `locate`.
        name: For messages.
        device: Where to.

    Raises:
        OvssError: Files are damaged or of another format, or it is no plain vision transformer.
    """
    import timm

    with _readable(name):
        config = read_config(folder / "config.json")
        _check_config(config, folder)
        model = timm.create_model(
            f"local-dir:{folder}", pretrained=True, num_classes=0, dynamic_img_size=True
        )
        check_weights(model, name)
        _check_parts(model)
        colours = [model.pretrained_cfg[key] for key in ("mean", "std")]
        if any(len(each) != 3 for each in colours) or not all(colours[1]):
            raise OvssError("its mean and std must be 3 numbers each, and no std 0")
    return model.eval().float().requires_grad_(requires_grad=False).to(device)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn whatever the readers of a model's files raise into one clear error."""
    try:
        yield
    except Exception as error:  # damaged files make libraries raise whatever they hit upon
        reason = " ".join((str(error).strip() or type(error).__name__).split())[:200]
        raise OvssError(f"DINO model {name!r} cannot be loaded ({reason}); {_ADVICE}") from error


def _check_config(config: dict[str, Any], folder: Path) -> None:
    """Compare the network that a configuration asks for with the weights that are stored.

    Raises:
        OvssError: It names no vision transformer of timm, or one that is far too large.
    """
    import timm

    kind = config.get("architecture")
    if kind not in timm.list_models(module="vision_transformer"):
        raise OvssError(f"its config.json names no vision transformer of timm but {kind!r}")
    sizes = {"depth": 1, "embed_dim": 1} | config.get("model_args", {})
    depth, width = sizes["depth"], sizes["embed_dim"]
    if type(depth) is not int or type(width) is not int:
        raise OvssError(f"depth and embed_dim must be whole numbers, got {depth!r} and {width!r}")
    check_size(12 * depth * width**2, read_weights(folder), folder)


def _check_parts(model: Any) -> None:
    """Refuse layers that are built otherwise than `Dino.features` takes them apart."""
    from timm.models.vision_transformer import Attention, Block, VisionTransformer

    layers = [(type(block), type(getattr(block, "attn", None))) for block in model.blocks]
    if type(model) is not VisionTransformer or set(layers) != {(Block, Attention)}:
        raise OvssError("its layers are not those of timm's plain vision transformer")
