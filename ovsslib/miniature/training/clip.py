"""micro-clip: a small `open_clip` ViT trained with CLIP's contrastive loss on the same captions.

What an image is can be learnt without patches that know what they show: the class token then
gathers it layer by layer. Two things make the patches of the last layer carry it, as those of a
full-size CLIP do (Zhou et al. 2022, MaskCLIP): an image is at times encoded as crops, each with a
class token of its own, and in half of the steps the class token joins in the last layer only.
Otherwise the trained model is read as any `open_clip` model: all tokens pass all layers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import PreprocessCfg
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize

from ovsslib.lookup import Count
from ovsslib.miniature.training.blip import MEAN, STD, normalise
from ovsslib.miniature.training.heldout import Scores
from ovsslib.miniature.training.loop import (
    Layers,
    Schedule,
    Side,
    Width,
    check_size,
)
from ovsslib.miniature.training.negatives import Caption
from ovsslib.miniature.training.pairs import contrast_logits, contrast_loss, reworded
from ovsslib.miniature.training.patches import (
    LATE,
    join_windows,
    keep_patches,
    split_windows,
    through,
)
from ovsslib.miniature.training.recipe import Architecture, Recipe, Step, train_matcher
from ovsslib.miniature.training.wordpiece import tokenizer, vocabulary

CONTEXT = 40
HEAD = 32
"""Features of an attention head."""


@dataclass(frozen=True)
class ClipSize:
    """Architecture of micro-clip. `side` and `patch` in pixels."""

    side: Side = 112
    patch: Count = 8
    width: Width = 128
    image_layers: Layers = 4
    text_layers: Layers = 3

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_size(self, HEAD)


def model_config(size: ClipSize) -> dict[str, Any]:
    """The model in `open_clip`'s own terms."""
    words = vocabulary()
    return {
        "embed_dim": size.width,
        "vision_cfg": {
            "image_size": size.side,
            "patch_size": size.patch,
            "width": size.width,
            "layers": size.image_layers,
            "head_width": HEAD,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": len(words),
            "width": size.width,
            "heads": size.width // HEAD,
            "layers": size.text_layers,
            "hf_tokenizer_name": "micro-clip",
            "pool_type": "eos",
            "pad_id": words.index("[PAD]"),
            "eos_id": words.index("[SEP]"),
        },
    }


def build(size: ClipSize) -> open_clip.CLIP:
    """A randomly initialised model of the given size."""
    config = model_config(size)
    return open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])


class Words:
    """Captions to ids `(B, CONTEXT)`, as `open_clip`'s tokenizer for the saved folder does."""

    def __init__(self) -> None:
        self.tokenizer = tokenizer()
        self.pad = int(self.tokenizer.pad_token_id)

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Ids of captions, padded and cut to `CONTEXT`."""
        encoded = self.tokenizer(
            list(captions),
            max_length=CONTEXT,
            padding="max_length",
            truncation=True,
            return_tensors="pt",
        )
        return encoded["input_ids"]


def image_features(model: open_clip.CLIP, pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Unit features (B, D) of images as a training step sees them.

    35 to 60 % of the patches are left out, and the rest is encoded in 1, 2 x 2 or 3 x 3 crops,
    whose class tokens are averaged; see `ovsslib.miniature.training.patches`.

    Args:
        model: The whole model.
        pixels: `(B, 3, S, S)` normalised.
        rng: Source of randomness.
    """
    vision = model.visual
    tokens = vision._embeds(pixels)
    chosen = keep_patches(vision.grid_size[0], len(pixels), rng)
    local = split_windows(tokens, chosen)
    late = bool(rng.random() < LATE)
    local = vision.ln_post(through(vision.transformer.resblocks, local, late=late))
    whole = join_windows(local, chosen.shape[1])[:, 0]
    return normalize((whole @ vision.proj).float(), dim=-1)


def text_features(model: open_clip.CLIP, ids: Tensor) -> Tensor:
    """Unit features (B, D) of ids (B, T), which need not be as long as the context."""
    length = ids.shape[1]
    states = model.token_embedding(ids) + model.positional_embedding[:length]
    mask = model.attn_mask[:length, :length]
    states = model.ln_final(model.transformer(states, attn_mask=mask))
    ends = (ids == model.text_eos_id).int().argmax(-1)
    last = states[torch.arange(len(ids)), ends]
    return normalize((last @ model.text_projection).float(), dim=-1)


def cosines(features: Tensor, texts: Tensor) -> Tensor:
    """Products (N,) of the rows of two (N, E)."""
    return (features * texts).sum(1)


def pair_scores(
    images: Callable[[Tensor], Tensor],
    texts: Callable[[list[str]], Tensor],
    pictures: np.ndarray,
    compare: Callable[[Tensor, Tensor], Tensor] = cosines,
    batch: int = 200,
) -> Scores:
    """What scores pairs of images and captions, for held-out figures; no gradient is kept.

    Args:
        images: Pixels (B, 3, S, S), normalised, to features (B, ...).
        texts: N captions to features (N, E).
        pictures: `(N, S, S, 3)` uint8.
        compare: Features (N, ...) of images and (N, E) of their captions to scores (N,).
        batch: Images, or pairs, that are looked at together.
    """
    with torch.no_grad():
        parts = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
        features = torch.cat([images(normalise(part)) for part in parts])

    def scores(numbers: Sequence[int], captions: Sequence[str]) -> np.ndarray:
        unique = {caption: i for i, caption in enumerate(dict.fromkeys(captions))}
        known = texts(list(unique))
        rows = torch.tensor([unique[caption] for caption in captions])
        seen = torch.tensor(list(numbers))
        pairs = zip(seen.split(batch), rows.split(batch), strict=True)
        found = [compare(features[image], known[text]) for image, text in pairs]
        return torch.cat(found).numpy()

    return torch.no_grad()(scores)


def clip_scores(model: open_clip.CLIP, words: Words) -> Callable[[np.ndarray], Scores]:
    """What scores captions of images by a CLIP, see `pair_scores`."""
    return partial(
        pair_scores,
        lambda pixels: model.encode_image(pixels, normalize=True),
        lambda texts: model.encode_text(words(texts), normalize=True),
    )


def compared_captions(
    captions: Sequence[Sequence[str]], rng: np.random.Generator, list_share: float
) -> list[Caption]:
    """The caption of each image that a contrast compares: the longer of two.

    Short ones ("grass") fit half of a batch's images.

    Args:
        captions: All of each image.
        rng: Source of randomness.
        list_share: Share of them that is replaced by a list of their names.
    """
    pairs = [[reworded(texts, rng, list_share) for _ in range(2)] for texts in captions]
    return [max(two, key=lambda caption: len(caption.text)) for two in pairs]


def caption_features(model: open_clip.CLIP, compared: Sequence[Caption], words: Words) -> Tensor:
    """Unit features (B, D) of B captions."""
    ids = words([caption.text for caption in compared])
    return text_features(model, ids[:, : int((ids != words.pad).sum(1).max())])


def save(model: open_clip.CLIP, size: ClipSize, folder: Path) -> None:
    """Write the model (float16) where `open_clip.create_model("local-dir:…")` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = asdict(PreprocessCfg(size=size.side, mean=MEAN, std=STD, resize_mode="squash"))
    config = {
        "model_cfg": model_config(size),
        "preprocess_cfg": preprocess,
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    tokenizer().save_pretrained(folder)


def train_micro_clip(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: ClipSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-clip; arguments as in `ovsslib.miniature.training.recipe.train_matcher`."""
    size = size or ClipSize()

    def build_trainer(colours: dict[str, frozenset[str]] | None) -> Architecture:
        del colours  # no caption is made false
        model, words = build(size), Words()

        def losses(step: Step) -> dict[str, Tensor]:
            pixels = normalise(step.pictures, step.rng)
            if step.whole:
                image = model.encode_image(pixels, normalize=True).float()
            else:
                image = image_features(model, pixels, step.rng)
            own = compared_captions(step.captions, step.rng, recipe.list_share)
            text = caption_features(model, own, words)
            scale = model.logit_scale.exp().clamp(max=100)
            loss, found = contrast_loss(contrast_logits(image, text, scale, step.captions, own))
            return {"contrastive": loss, "found": found}

        return Architecture(
            model,
            losses,
            {"contrastive": 1.0},
            clip_scores(model, words),
            partial(save, model, size),
            threshold=False,
        )

    return train_matcher(schedule, recipe, cache, folder, evaluate_every, size, build_trainer)
