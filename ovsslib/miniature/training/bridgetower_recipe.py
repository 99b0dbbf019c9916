"""The recipe behind `ovss train micro-bridgetower`: as micro-blip's, with captions as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovsslib.miniature.training.blip import normalise
from ovsslib.miniature.training.bpe import tokenizer
from ovsslib.miniature.training.bridgetower import (
    BridgeTowerSize,
    MicroBridgeTowerTrainer,
    save,
    tensors,
)
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import (
    WEIGHTS,
    Architecture,
    Recipe,
    train_matcher,
    word_losses,
)
from ovsslib.miniature.training.rows import RowPacker


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


def train_micro_bridgetower(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: BridgeTowerSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-bridgetower; as `train_micro_blip`."""
    size = size or BridgeTowerSize()

    def build(colours: dict[str, frozenset[str]] | None) -> Architecture:
        trainer = MicroBridgeTowerTrainer(size)
        packer = RowPacker(tokenizer(), size.positions, colours)
        return Architecture(
            trainer,
            word_losses(trainer, lambda *what, **how: tensors(packer.rows(*what, **how)), recipe),
            WEIGHTS,
            partial(bridgetower_scores, trainer, packer=packer),
            partial(save, trainer),
        )

    return train_matcher(schedule, recipe, cache, folder, evaluate_every, size, build)
