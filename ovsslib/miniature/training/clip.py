"""micro-clip: a small `open_clip` ViT trained with CLIP's contrastive loss on the same captions.

What an image is can be learnt without patches that know what they show: the class token then
gathers it layer by layer. Two things make the patches of the last layer carry it, as those of a
full-size CLIP do (Zhou et al. 2022, MaskCLIP): an image is at times encoded as crops, each with a
class token of its own, and in half of the steps the class token joins in the last layer only.
Otherwise the trained model is read as any `open_clip` model: all tokens pass all layers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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
from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training.blip import MEAN, STD, normalise
from ovsslib.miniature.training.heldout import Scores, held_out_figures
from ovsslib.miniature.training.loop import (
    Layers,
    Schedule,
    Side,
    Width,
    batch_indices,
    check_size,
    run,
)
from ovsslib.miniature.training.pairs import contrast_logits, contrast_loss, reworded
from ovsslib.miniature.training.patches import (
    LATE,
    join_windows,
    keep_patches,
    split_windows,
    through,
)
from ovsslib.miniature.training.recipe import Recipe, load_train, watched
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


def evaluate_clip(
    model: open_clip.CLIP, held: tuple[data.CaptionData, data.CaptionData], words: Words
) -> dict[str, float]:
    """Held-out figures. CLIP has no threshold for a match, so only the ranking figures are kept."""

    def scorer(pictures: np.ndarray) -> Scores:
        features = torch.cat(
            [
                model.encode_image(normalise(pictures[i : i + 200]), normalize=True)
                for i in range(0, len(pictures), 200)
            ]
        )

        def scores(numbers: Sequence[int], texts: Sequence[str]) -> np.ndarray:
            unique = {text: i for i, text in enumerate(dict.fromkeys(texts))}
            text = model.encode_text(words(list(unique)), normalize=True)
            rows = torch.tensor([unique[t] for t in texts])
            return (features[torch.tensor(list(numbers))] * text[rows]).sum(1).numpy()

        return scores

    model.eval()
    with torch.no_grad():
        figures = held_out_figures(scorer, held)
    model.train()
    return {name: value for name, value in figures.items() if "match_accuracy" not in name}


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
    """Train micro-clip; yields a record a step, with held-out figures at times."""
    size = size or ClipSize()
    train = load_train(cache, recipe, size.side)
    held = data.load_held(cache, recipe.heldout, size.side, recipe.data_seed)
    torch.manual_seed(schedule.seed)
    model, words = build(size), Words()

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        index = batch_indices(schedule, step, len(train))
        captions = [train.captions[i] for i in index]
        pixels = normalise(train.pictures[index], rng)
        whole = step >= schedule.steps * (1 - recipe.whole_share)
        if whole:
            image = model.encode_image(pixels, normalize=True).float()
        else:
            image = image_features(model, pixels, rng)
        pairs = [[reworded(texts, rng, recipe.list_share) for _ in range(2)] for texts in captions]
        # The longer of two captions: short ones ("grass") fit half of the batch's images.
        own = [max(two, key=lambda caption: len(caption.text)) for two in pairs]
        ids = words([caption.text for caption in own])
        text = text_features(model, ids[:, : int((ids != words.pad).sum(1).max())])
        scale = model.logit_scale.exp().clamp(max=100)
        loss, found = contrast_loss(contrast_logits(image, text, scale, captions, own))
        return {"contrastive": loss, "found": found}

    everything = {"size": asdict(size), "recipe": asdict(recipe)}
    records = run(model, losses, {"contrastive": 1.0}, schedule, folder, everything)
    yield from watched(
        records,
        folder,
        evaluate_every,
        schedule.steps,
        lambda: evaluate_clip(model, held, words),
        lambda to: save(model, size, to),
    )
