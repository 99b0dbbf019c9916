"""micro-clip: a small `open_clip` ViT trained with CLIP's contrastive loss on the same captions."""

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
from torch.nn.functional import cross_entropy

from ovsslib.lookup import Count, Share
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
from ovsslib.miniature.training.recipe import Recipe, load_train, watched
from ovsslib.miniature.training.wordpiece import tokenizer, vocabulary

CONTEXT = 40
HEAD = 32
"""Features of an attention head."""


@dataclass(frozen=True)
class ClipSize:
    """Architecture of micro-clip. `side` and `patch` in pixels."""

    side: Side = 96
    patch: Count = 8
    width: Width = 128
    image_layers: Layers = 4
    text_layers: Layers = 3
    patch_dropout: Share = 0.5

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
            "patch_dropout": size.patch_dropout,
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


def contrastive(image: Tensor, text: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """CLIP's symmetric loss over `(B, D)` unit features, and the share of captions found."""
    logits = scale * image @ text.T
    truth = torch.arange(len(logits))
    loss = (cross_entropy(logits, truth) + cross_entropy(logits.T, truth)) / 2
    return loss, (logits.argmax(1) == truth).float().mean().detach()


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
    # Patch dropout is for training; the shipped configuration is for use.
    config = {
        "model_cfg": model_config(ClipSize(**{**asdict(size), "patch_dropout": 0.0})),
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
        # The longer of two captions: short ones ("grass") fit half of the batch's images.
        chosen = [max(rng.choice(train.captions[i], 2), key=len) for i in index]
        image = model.encode_image(normalise(train.pictures[index], rng), normalize=True)
        text = model.encode_text(words([str(c) for c in chosen]), normalize=True)
        loss, found = contrastive(image, text, model.logit_scale.exp().clamp(max=100))
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
