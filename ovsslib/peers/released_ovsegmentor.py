"""OVSegmentor as its authors released it: a ViT with one grouping, and BERT's first token.

The image encoder is that of GroupViT without a normalisation of the patches, so transformers' parts
are used; text goes through BERT instead of GroupViT's own encoder. Both end in two layers with
batch normalisation between them. The file (`{"model": state, ...}`) also holds what only training
needs: the momentum encoder, and what fills in names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from open_clip.constants import IMAGENET_MEAN, IMAGENET_STD
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.lookup import unknown
from ovsslib.peers.groupvit import GroupTower
from ovsslib.peers.inputs import Texts
from ovsslib.peers.released import (
    HEAD_WIDTH,
    Release,
    State,
    count,
    refusal,
    renamed,
)
from ovsslib.vlm import DTYPES, checkpoint_file, open_device
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.lavis.tokenizer import find_tokenizer
from ovsslib.vlm.state import own_state
from ovsslib.vlm.weights import fill, read_state, shape_of

if TYPE_CHECKING:
    from transformers import BertConfig, GroupViTVisionConfig

HEADS = 8
"""Attention heads of the image encoder, whatever its width."""

_OURS = r"vision_model.encoder.stages.\1"
_STAGE = r"img_encoder\.layers\.(\d+)"
_BLOCK = rf"{_STAGE}\.blocks\.(\d+)"
_GROUPING = rf"{_STAGE}\.downsample"
_NAMES: dict[str, str | None] = {
    # What fills in names and shares masks while training, and counters.
    r"(img_encoder_momentum|multimodal_groupingblock|bridge_projector|align_proj_.+?)\..+": None,
    r"(multi_label_logit_scale|logit_scale_mask)": None,
    r".+\.(num_batches_tracked|position_ids)": None,
    r"logit_scale": "logit_scale",
    r"img_encoder\.pos_embed": "vision_model.embeddings.position_embeddings",
    r"img_encoder\.patch_embed\.proj\.(.+)": (
        r"vision_model.embeddings.patch_embeddings.projection.\1"
    ),
    r"img_encoder\.patch_embed\.norm\.(.+)": r"vision_model.embeddings.layernorm.\1",
    r"img_encoder\.norm\.(.+)": r"vision_model.layernorm.\1",
    rf"{_STAGE}\.group_token": rf"{_OURS}.group_token",
    rf"{_BLOCK}\.norm([12])\.(.+)": rf"{_OURS}.layers.\2.layer_norm\3.\4",
    rf"{_BLOCK}\.attn\.qkv\.(.+)": rf"{_OURS}.layers.\2.self_attn.qkv.\3",
    rf"{_BLOCK}\.attn\.proj\.(.+)": rf"{_OURS}.layers.\2.self_attn.out_proj.\3",
    rf"{_BLOCK}\.mlp\.(.+)": rf"{_OURS}.layers.\2.mlp.\3",
    rf"{_GROUPING}\.pre_assign_attn\.attn\.proj\.(.+)": (
        rf"{_OURS}.downsample.pre_assign_attn.attn.out_proj.\2"
    ),
    rf"{_GROUPING}\.(.+)": rf"{_OURS}.downsample.\2",
    r"img_projector\.linear_hidden\.(.+)": r"visual_projection.\1",
    r"img_projector\.linear_out\.(.+)": r"visual_projection.3.\1",
    r"text_projector\.linear_hidden\.(.+)": r"text_projection.\1",
    r"text_projector\.linear_out\.(.+)": r"text_projection.3.\1",
    r"text_encoder\.transformer\.(.+)": r"text_model.\1",
}


def from_released(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The authors' weights under the names of `Net`, and its arguments.

    Raises:
        OvssError: It is no OVSegmentor with BERT and one grouping.
    """
    weights = renamed(state, _NAMES, "OVSegmentor")
    for name in [name for name in weights if ".self_attn.qkv." in name]:
        for letter, third in zip("qkv", weights[name].chunk(3), strict=True):
            weights[name.replace(".qkv.", f".{letter}_proj.")] = third
        del weights[name]
    for name in [name for name in weights if "_projection." in name and weights[name].ndim == 3]:
        weights[name] = weights[name].squeeze(-1)  # convolutions over single places
    places = "vision_model.embeddings.position_embeddings"
    if places in weights and weights[places].ndim == 2:
        weights[places] = weights[places][None]
    sizes = {
        "image": _image_sizes(weights),
        "text": _text_sizes(weights),
        "hidden": shape_of(weights, "visual_projection.0.weight", 2)[0],
        "shared": shape_of(weights, "visual_projection.3.weight", 2)[0],
        "patch_norm": "vision_model.embeddings.layernorm.weight" in weights,
    }
    return weights, sizes


def _image_sizes(weights: State) -> GroupViTVisionConfig:
    from transformers import GroupViTVisionConfig

    stages = "vision_model.encoder.stages."
    width, _, _, patch = shape_of(
        weights, "vision_model.embeddings.patch_embeddings.projection.weight", 4
    )
    places = shape_of(weights, "vision_model.embeddings.position_embeddings", 3)[1]
    side = math.isqrt(places)
    if side**2 != places:
        raise OvssError(f"img_encoder.pos_embed has {places} patches, which make no square")
    if width % HEADS or count(weights, stages) != 2:
        raise OvssError(
            f"its image encoder has the width {width} and {count(weights, stages)} stages, where "
            f"{HEADS} heads and 2 stages are needed"
        )
    depths = [count(weights, f"{stages}{stage}.layers.") for stage in range(2)]
    return GroupViTVisionConfig(
        hidden_size=width,
        intermediate_size=shape_of(weights, f"{stages}0.layers.0.mlp.fc1.weight", 2)[0],
        num_hidden_layers=sum(depths),
        depths=depths,
        num_group_tokens=[shape_of(weights, f"{stages}0.group_token", 3)[1], 0],
        num_output_groups=[
            shape_of(weights, f"{stages}0.downsample.mlp_inter.fc2.weight", 2)[0],
            0,
        ],
        num_attention_heads=HEADS,
        image_size=side * patch,
        patch_size=patch,
    )


def _text_sizes(weights: State) -> BertConfig:
    from transformers import BertConfig

    inner, width = shape_of(weights, "text_model.encoder.layer.0.intermediate.dense.weight", 2)
    kinds = shape_of(weights, "text_model.embeddings.token_type_embeddings.weight", 2)[0]
    if kinds != 2:
        raise OvssError("its text encoder is not BERT: give the checkpoint with ViT-B and BERT")
    if width % HEAD_WIDTH:
        raise OvssError(f"{HEAD_WIDTH}-wide heads do not divide the width {width} of its BERT")
    return BertConfig(
        vocab_size=shape_of(weights, "text_model.embeddings.word_embeddings.weight", 2)[0],
        hidden_size=width,
        num_hidden_layers=count(weights, "text_model.encoder.layer."),
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=inner,
        max_position_embeddings=shape_of(
            weights, "text_model.embeddings.position_embeddings.weight", 2
        )[0],
    )


class Net(nn.Module):
    """OVSegmentor's networks, with the attributes of `GroupViTModel` that `GroupTower` reads.

    Args:
        image: Sizes of the image encoder.
        text: Of BERT.
        hidden: Width inside the projections.
        shared: Width E of the space that images and texts share.
        patch_norm: Whether patches are normalised before positions are added.
    """

    def __init__(
        self,
        image: GroupViTVisionConfig,
        text: BertConfig,
        *,
        hidden: int,
        shared: int,
        patch_norm: bool,
    ) -> None:
        from transformers import BertModel, GroupViTVisionModel

        super().__init__()
        self.config = SimpleNamespace(vision_config=image, text_config=text)
        self.vision_model = GroupViTVisionModel(image).vision_model
        if not patch_norm:
            self.vision_model.embeddings.layernorm = nn.Identity()
        self.text_model = BertModel(text)
        self.visual_projection, self.text_projection = (
            nn.Sequential(
                nn.Linear(width, hidden),
                nn.BatchNorm1d(hidden),
                nn.ReLU(),
                nn.Linear(hidden, shared),
            )
            for width in (image.hidden_size, text.hidden_size)
        )
        self.logit_scale = nn.Parameter(torch.tensor(0.0))

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return self.logit_scale.dtype


RELEASE = Release(
    "OVSegmentor",
    "the checkpoint with ViT-B and BERT",
    from_released,
    (IMAGENET_MEAN, IMAGENET_STD),
)


class OvSegmentorTower(GroupTower):
    """A GroupViT of transformers, or OVSegmentor as its authors released it.

    Args:
        name: See `ovsslib.peers.hub.Hub`; or a file of the authors. Its tokenizer is looked for
            beside it, then BERT's in the hub's local cache.
        device: Such as `"cpu"`; None for the best there is.
        dtype: One of `ovsslib.vlm.DTYPES`; None for float32.
        download: Whether the network may be used.

    Raises:
        OvssError: The folder or file is missing or damaged or of another system, or there is no
            tokenizer.
    """

    def __init__(
        self, name: str, device: Any = None, dtype: str | None = None, *, download: bool = False
    ) -> None:
        file = checkpoint_file(name, download=download)
        if file is None:
            super().__init__(name, device, dtype, download=download)
            return
        if dtype is not None and dtype not in DTYPES:
            raise unknown("dtype", dtype, DTYPES)
        self.device, self.dtype = open_device(device), dtype or "float32"
        self.name, self.texts = file.stem, Texts(self.encode)
        self._read_file(file)

    @own_state()
    def _read_file(self, path: Path) -> None:
        """Become what a released file holds."""
        try:
            weights, sizes = from_released(read_state(path))
            net = Net(**sizes)
            counters = {
                name: value
                for name, value in net.state_dict().items()
                if name.endswith("num_batches_tracked")
            }
            fill(net, counters | weights, RELEASE.what, where="it")
        except OvssError as error:
            raise refusal(path, RELEASE, error) from error
        tokenizer: Any = find_tokenizer(path, sizes["text"].vocab_size)
        tokenizer.enable_truncation(sizes["text"].max_position_embeddings)
        tokenizer.enable_padding(pad_id=tokenizer.token_to_id("[PAD]") or 0)
        mean, std = RELEASE.colours
        pictures = SimpleNamespace(
            resample=3, rescale_factor=1 / 255, do_normalize=True, image_mean=mean, image_std=std
        )
        self.processor = SimpleNamespace(image_processor=pictures, tokenizer=tokenizer)
        self.model = net.to(self.device, getattr(torch, self.dtype)).eval()
        self.model.requires_grad_(requires_grad=False)
        check_weights(self.model, str(path))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts."""
        if not isinstance(self.model, Net):
            return super().encode(texts)
        rows = self.processor.tokenizer.encode_batch(list(texts))
        ids, seen = (
            torch.tensor([getattr(row, key) for row in rows], device=self.device)
            for key in ("ids", "attention_mask")
        )
        out = self.model.text_model(input_ids=ids, attention_mask=seen).last_hidden_state
        found: Tensor = self.model.text_projection(out[:, 0])
        return found
