"""The recipe behind `ovss train micro-bridgetower`: as micro-blip's, with captions as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.bpe import tokenizer
from ovsslib.miniature.training.bridgetower import (
    BridgeTowerSize,
    MicroBridgeTowerTrainer,
    save,
    tensors,
)
from ovsslib.miniature.training.heldout import held_out_figures
from ovsslib.miniature.training.loop import Schedule, batch_indices, run
from ovsslib.miniature.training.recipe import (
    WEIGHTS,
    Recipe,
    known_colours,
    load_train,
    watched,
)
from ovsslib.miniature.training.rows import RowPacker
from ovsslib.miniature.training.wordpiece import bag_of_words


def bridgetower_scores(
    trainer: MicroBridgeTowerTrainer, pictures: np.ndarray, packer: RowPacker, batch: int = 100
) -> Any:
    """Match scores (logit of match minus logit of no match) of image-caption pairs.

    Args:
        trainer: Holds the network.
        pictures: `(N, S, S, 3)` uint8.
        packer: Makes rows of captions.
        batch: Pairs that are computed together.

    Returns:
        A function as `ovsslib.miniature.training.heldout.Scores` describes it.
    """

    def scores(numbers: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        out, rng = [], np.random.default_rng(0)
        quiet = {"false_share": 0.0, "mask_share": 0.0, "shift_share": 0.0, "capital_share": 0.0}
        for start in range(0, len(texts), batch):
            part = [[text] for text in texts[start : start + batch]]
            rows = tensors(packer.rows(part, rng, 1, **quiet))
            # All layers' tokens of all images would fill the memory; pairs come sorted.
            shown, index = np.unique(numbers[start : start + batch], return_inverse=True)
            image, _ = trainer.encode(normalise(pictures[shown]))
            logits = trainer.read([states[torch.from_numpy(index)] for states in image], rows)[1]
            out.append((logits[:, 1] - logits[:, 0]).numpy())
        return np.concatenate(out)

    return torch.no_grad()(scores)


def evaluate_bridgetower(
    trainer: MicroBridgeTowerTrainer,
    held: tuple[data.CaptionData, data.CaptionData],
    packer: RowPacker,
) -> dict[str, float]:
    """Held-out figures of `ovsslib.miniature.training.heldout`."""
    trainer.eval()
    figures = held_out_figures(lambda shown: bridgetower_scores(trainer, shown, packer), held)
    trainer.train()
    return figures


def train_micro_bridgetower(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: BridgeTowerSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-bridgetower from a rendered cache; yields a record a step.

    After every evaluation the model stands in `folder/model` and in `folder/snapshots/STEP`, in
    the hub's format.

    Args:
        schedule: Length, rates, batch, seed.
        recipe: Images and captions; used as micro-blip uses it.
        cache: Rendered images, see `ovsslib.miniature.training.cache`.
        folder: The run's; a run found there is continued.
        evaluate_every: Steps between held-out figures.
        size: The architecture; None takes the shipped model's.

    Raises:
        OvssError: Shards are missing, or the folder holds a run of another recipe.
    """
    size = size or BridgeTowerSize()
    train = load_train(cache, recipe, size.side)
    held = data.load_held(cache, recipe.heldout, size.side, recipe.data_seed)
    torch.manual_seed(schedule.seed)
    trainer = MicroBridgeTowerTrainer(size)
    packer = RowPacker(tokenizer(), size.positions, known_colours(recipe, train))
    bags = np.stack([bag_of_words(captions) for captions in train.captions])

    def losses(step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        index = batch_indices(schedule, step, len(train))
        captions = [train.captions[i] for i in index]
        rows = packer.rows(captions, rng, recipe.captions, list_share=recipe.list_share)
        pixels = normalise(train.pictures[index], rng)
        whole = step >= schedule.steps * (1 - recipe.whole_share)
        return trainer(pixels, tensors(rows), torch.from_numpy(bags[index]), rng, whole=whole)

    everything = {"size": asdict(size), "recipe": asdict(recipe)}
    records = run(trainer, losses, WEIGHTS, schedule, folder, everything)
    yield from watched(
        records,
        folder,
        evaluate_every,
        schedule.steps,
        lambda: evaluate_bridgetower(trainer, held, packer),
        lambda to: save(trainer, to),
    )
