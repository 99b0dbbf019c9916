"""GroupViT's training (Xu et al. 2022, CVPR): CLIP's contrast on images that end as groups.

The model is `GroupViTModel` of transformers, small, from random weights: two stages, the first of
which ends in a grouping block that gathers the patches into groups. Two things are set right
that its own initialisation and loss leave out: group tokens and positions start at random (there
they start at zero, so that all group tokens see the same patches), and the contrast's scale is 100
at most.

Departures: one grouping stage in place of two. The second loss of the paper (prompts made of the
caption's nouns) is left out, as in the authors' run on RedCaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPImageProcessor, CLIPProcessor, GroupViTConfig, GroupViTModel

from ovsslib.lookup import Amount, Count
from ovsslib.miniature.training.blip import MEAN, STD
from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.clip import CONTEXT, Words, pair_scores
from ovsslib.miniature.training.loop import Layers, Side, Width, check_size
from ovsslib.miniature.training.wordpiece import vocabulary
from ovsslib.trained.system import Batch, Plan, System

TOKEN_SPREAD = 0.02
"""Standard deviation of the group tokens and positions at the start."""


@dataclass(frozen=True)
class GroupVitSize:
    """Architecture of micro-groupvit. `side` and `patch` in pixels.

    Attributes:
        before: Layers before patches are grouped.
        after: Layers of the groups.
        tokens: Group tokens that patches see.
        groups: How many groups they become.
        text_layers: Of the text encoder, as wide.
    """

    side: Side = 112
    patch: Count = 8
    width: Width = 128
    heads: Count = 4
    before: Layers = 4
    after: Layers = 2
    tokens: Count = 12
    groups: Count = 12
    text_layers: Layers = 3

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_size(self, self.heads)


def build(size: GroupVitSize, spread: float = TOKEN_SPREAD) -> GroupViTModel:
    """A randomly initialised model.

    Args:
        size: Architecture.
        spread: See `TOKEN_SPREAD`; 0 leaves them as transformers has them.
    """
    words = vocabulary()
    shared = {
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_attention_heads": size.heads,
    }
    config = GroupViTConfig(
        text_config={
            **shared,
            "vocab_size": len(words),
            "num_hidden_layers": size.text_layers,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": words.index("[CLS]"),
            "eos_token_id": words.index("[SEP]"),
            "pad_token_id": words.index("[PAD]"),
        },
        vision_config={
            **shared,
            "image_size": size.side,
            "patch_size": size.patch,
            "num_hidden_layers": size.before + size.after,
            "depths": [size.before, size.after],
            "num_group_tokens": [size.tokens, 0],
            "num_output_groups": [size.groups, 0],
        },
        projection_dim=size.width,
        projection_intermediate_dim=4 * size.width,
    )
    model = GroupViTModel(config)
    if spread:
        vision = model.vision_model
        for start in (
            vision.embeddings.position_embeddings,
            vision.encoder.stages[0].group_token,
        ):
            nn.init.trunc_normal_(start, std=spread)
    return model


class GroupVitTrainer(nn.Module):
    """The model; `forward` gives its loss.

    Args:
        size: Architecture.
        spread: See `build`.
    """

    def __init__(self, size: GroupVitSize, spread: float = TOKEN_SPREAD) -> None:
        super().__init__()
        self.model, self.words = build(size, spread), Words()

    def images(self, pixels: Tensor) -> Tensor:
        """Unit features (B, E) of images (B, 3, S, S)."""
        pooled = self.model.vision_model(pixel_values=pixels).pooler_output
        return normalize(self.model.visual_projection(pooled).float(), dim=-1)

    def read(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States (N, T, D) of N texts' tokens, and what the encoder says of each text, (N, D)."""
        ids = self.words(texts)
        ids = ids[:, : int((ids != self.words.pad).sum(1).max())]
        mask = (ids != self.words.pad).long()
        out = self.model.text_model(input_ids=ids, attention_mask=mask)
        return out.last_hidden_state, out.pooler_output

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit features (N, E) of N texts."""
        return normalize(self.model.text_projection(self.read(texts)[1]).float(), dim=-1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch, and the share of images whose caption is found."""
        texts = self.texts([caption.text for caption in batch.compared])
        cosines = self.images(batch.pixels) @ texts.T
        loss, found = batch.contrast(cosines, self.model.logit_scale)
        return {"contrastive": loss, "found": found}


def save(trainer: GroupVitTrainer, size: GroupVitSize, folder: Path) -> None:
    """Write the model (float16) where `GroupViTModel.from_pretrained` reads it, and no more."""
    half = build(size)
    half.load_state_dict(trainer.model.state_dict())
    half.half().save_pretrained(folder)
    side = {"height": size.side, "width": size.side}
    images = CLIPImageProcessor(
        size=side, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD)
    )
    CLIPProcessor(images, trainer.words.tokenizer).save_pretrained(folder)


@dataclass(frozen=True)
class GroupVit(Plan):
    """micro-groupvit, see `ovsslib.trained.system.Plan`; `spread` as in `build`."""

    spread: Amount = TOKEN_SPREAD

    def size(self, **given: Any) -> GroupVitSize:
        """The architecture; what is not given is as shipped."""
        return GroupVitSize(**given)

    def make(self, size: GroupVitSize, train: CaptionData) -> System:
        """The system at random."""
        del train
        trainer = GroupVitTrainer(size, self.spread)
        scores = partial(pair_scores, trainer.images, trainer.texts)
        return System(trainer, {"contrastive": 1.0}, scores, partial(save, trainer, size))
