"""The recipes behind `ovss train`: one function a model, every choice a parameter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from ovsslib.lookup import Count, Range, Seed, Share, check_fields
from ovsslib.miniature.training import cache as data
from ovsslib.miniature.training import contrast
from ovsslib.miniature.training.blip import (
    BlipSize,
    MicroBlip,
    MicroBlipTrainer,
    normalise,
    save,
    tensors,
)
from ovsslib.miniature.training.heldout import Scores, held_out_figures
from ovsslib.miniature.training.loop import Schedule, batch_indices, run
from ovsslib.miniature.training.negatives import Packer
from ovsslib.miniature.training.wordpiece import bag_of_words, colours_of, tokenizer

WEIGHTS = {"match": 1.0, "masked": 0.5, "word": 1.0, "bag": 5.0}


@dataclass(frozen=True)
class Recipe:
    """What a training run is given besides its schedule and architecture.

    Attributes:
        pictures: How many images are drawn for training.
        heldout: How many for each set of held-out figures.
        captions: Captions of an image in one step.
        list_share: Share of them that is replaced by lists of names.
        whole_share: Share of the steps, the last ones, that see whole images: before, patches
            are left out, and the model learns that a thing it does not see may be there.
        close_ups: Every so many training images are close-ups of one thing.
        first_share: Share of the steps, the first ones, that have contrast alone (only
            `train_micro_blip_contrast`).
        last_share: Share of the steps, the last ones, that have contrast and match alone (the
            same).
        local: Whether image tokens are kept local, see `ovsslib.miniature.training.contrast` (the
            same).
        known_colours: False captions give a thing only colours that some caption gives it, see
            `ovsslib.miniature.training.negatives.swap`.
        data_seed: Of the drawn images.
    """

    pictures: Count = 30_000
    heldout: Annotated[int, Range(2)] = 1_000
    captions: Count = 2
    list_share: Share = 0.6
    whole_share: Share = 0.06
    close_ups: Count = 2
    first_share: Share = 0.6
    last_share: Share = 0.15
    local: bool = False
    known_colours: bool = False
    data_seed: Seed = 0

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)


def load_train(cache: Path, recipe: Recipe, side: int) -> data.CaptionData:
    """The training pictures of a recipe."""
    what = {"seed": recipe.data_seed, "close_ups": recipe.close_ups}
    return data.load(cache, "train", recipe.pictures, side, **what)


def known_colours(recipe: Recipe, train: data.CaptionData) -> dict[str, frozenset[str]] | None:
    """Colours that false captions may give to each thing; None for all."""
    return colours_of(chain.from_iterable(train.captions)) if recipe.known_colours else None


def note_heldout(folder: Path, step: int, figures: dict[str, float]) -> None:
    """Append held-out figures to the run's `heldout.jsonl`; a repeated step replaces its line."""
    path = folder / "heldout.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] < step]
    path.write_text("\n".join([*kept, json.dumps({"step": step, **figures})]) + "\n")


def watched(
    records: Iterator[dict[str, Any]],
    folder: Path,
    every: int,
    last: int,
    evaluate: Callable[[], dict[str, float]],
    save: Callable[[Path], None],
) -> Iterator[dict[str, Any]]:
    """Add held-out figures to some records of a run, and save the model there.

    Args:
        records: Of `ovsslib.miniature.training.loop.run`.
        folder: The run's; the model goes to `model` and `snapshots/STEP` in it.
        every: Steps between figures; the last step has them in any case.
        last: The last step.
        evaluate: The figures of the model as it is.
        save: Writes the model to a folder.
    """
    begun = time.perf_counter()
    for record in records:
        step = int(record["step"])
        if step % every and step != last:
            yield record
            continue
        figures = evaluate()
        save(folder / "model")
        save(folder / "snapshots" / f"{step:06d}")
        note_heldout(folder, step, figures)
        yield record | figures | {"elapsed": round(time.perf_counter() - begun, 1)}


def blip_scores(trainer: MicroBlip, pictures: np.ndarray, packer: Packer, batch: int = 100) -> Any:
    """Match scores (logit of match minus logit of no match) of image-caption pairs."""
    with torch.no_grad():
        parts = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
        images = torch.cat([trainer.encode(normalise(part)) for part in parts])

    def scores(numbers: Sequence[int], texts: Sequence[str]) -> np.ndarray:
        out = []
        rng = np.random.default_rng(0)
        for start in range(0, len(texts), batch):
            part = [[t] for t in texts[start : start + batch]]
            pack = packer.pack(part, rng, 1, false_share=0.0, mask_share=0.0, shift_share=0.0)
            image = images[torch.tensor(numbers[start : start + batch])]
            logits = trainer.model.itm_head(trainer.read(image, tensors(pack))[:, 0])
            out.append((logits[:, 1] - logits[:, 0]).numpy())
        return np.concatenate(out)

    return torch.no_grad()(scores)


@dataclass(frozen=True)
class Step:
    """What a training step is given.

    Attributes:
        pictures: (B, S, S, 3) uint8.
        captions: All captions of each image.
        rng: Source of randomness.
        whole: Whether all patches are to be seen, as in the last steps.
        done: Share of the steps that is done, 0..1.
    """

    pictures: np.ndarray
    captions: Sequence[Sequence[str]]
    rng: np.random.Generator
    whole: bool
    done: float


@dataclass(frozen=True)
class Architecture:
    """What differs between the models that are trained to match images and captions.

    Attributes:
        trainer: The network, and what only training needs.
        losses: Losses and figures of a step.
        weights: Of the losses in their sum.
        scores: See `evaluate_matcher`.
        save: Writes the model to a folder.
        threshold: The same.
        options: What else decides the result; a state of others is refused.
    """

    trainer: torch.nn.Module
    losses: Callable[[Step], dict[str, torch.Tensor]]
    weights: dict[str, float]
    scores: Callable[[np.ndarray], Scores]
    save: Callable[[Path], None]
    threshold: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


def evaluate_matcher(
    trainer: torch.nn.Module,
    scores: Callable[[np.ndarray], Scores],
    held: tuple[data.CaptionData, data.CaptionData],
    *,
    threshold: bool = True,
) -> dict[str, float]:
    """Held-out figures of `ovsslib.miniature.training.heldout`.

    Args:
        trainer: Left in training mode.
        scores: Images (N, S, S, 3) uint8 to the function that scores captions of them.
        held: Images and captions, usual and novel.
        threshold: Whether a score above 0 means a match; else figures that need that are left out.
    """
    trainer.eval()
    figures = held_out_figures(scores, held)
    trainer.train()
    if threshold:
        return figures
    return {name: value for name, value in figures.items() if "match_accuracy" not in name}


def train_matcher(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int,
    size: Any,
    build: Callable[[dict[str, frozenset[str]] | None], Architecture],
) -> Iterator[dict[str, Any]]:
    """Train a model from a rendered cache; yields a record a step.

    After every evaluation the model stands in `folder/model` and in `folder/snapshots/STEP`, in
    the hub's format.

    Args:
        schedule: Length, rates, batch, seed.
        recipe: Images and captions.
        cache: Rendered images, see `ovsslib.miniature.training.cache`.
        folder: The run's; a run found there is continued.
        evaluate_every: Steps between held-out figures.
        size: The architecture, a dataclass with a `side`.
        build: Makes the model, given `known_colours`.

    Raises:
        OvssError: Shards are missing, or the folder holds a run of another recipe.
    """
    train = load_train(cache, recipe, size.side)
    held = data.load_held(cache, recipe.heldout, size.side, recipe.data_seed)
    torch.manual_seed(schedule.seed)
    matcher = build(known_colours(recipe, train))

    def losses(step: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        index = batch_indices(schedule, step, len(train))
        return matcher.losses(
            Step(
                train.pictures[index],
                [train.captions[i] for i in index],
                rng,
                whole=step >= schedule.steps * (1 - recipe.whole_share),
                done=step / schedule.steps,
            )
        )

    everything = {"size": asdict(size), "recipe": asdict(recipe)}
    everything |= {"options": dict(matcher.options)} if matcher.options else {}
    records = run(matcher.trainer, losses, matcher.weights, schedule, folder, everything)
    yield from watched(
        records,
        folder,
        evaluate_every,
        schedule.steps,
        lambda: evaluate_matcher(
            matcher.trainer, matcher.scores, held, threshold=matcher.threshold
        ),
        matcher.save,
    )


def word_losses(
    trainer: torch.nn.Module, pack: Callable[..., dict[str, torch.Tensor]], recipe: Recipe
) -> Callable[[Step], dict[str, torch.Tensor]]:
    """`Architecture.losses` of a trainer that reads packed captions and bags of words.

    Args:
        trainer: Takes images, what `pack` makes, bags, a source of randomness and `whole`.
        pack: Captions of each image, a source of randomness, captions a step and `list_share` to
            the tensors that the trainer takes.
        recipe: Says how many captions, and the share of lists.
    """

    def losses(step: Step) -> dict[str, torch.Tensor]:
        words = pack(step.captions, step.rng, recipe.captions, list_share=recipe.list_share)
        bags = np.stack([bag_of_words(texts) for texts in step.captions])
        pixels = normalise(step.pictures, step.rng)
        out: dict[str, torch.Tensor] = trainer(
            pixels, words, torch.from_numpy(bags), step.rng, whole=step.whole
        )
        return out

    return losses


def train_micro_blip(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: BlipSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-blip; arguments as in `train_matcher`, a size of None is the shipped model's."""
    size = size or BlipSize()

    def build(colours: dict[str, frozenset[str]] | None) -> Architecture:
        trainer, packer = MicroBlipTrainer(size), Packer(tokenizer(), size.positions, colours)
        return Architecture(
            trainer,
            word_losses(trainer, lambda *what, **how: tensors(packer.pack(*what, **how)), recipe),
            WEIGHTS,
            partial(blip_scores, trainer, packer=packer),
            partial(save, trainer),
        )

    return train_matcher(schedule, recipe, cache, folder, evaluate_every, size, build)


def train_micro_blip_contrast(
    schedule: Schedule,
    recipe: Recipe,
    cache: Path,
    folder: Path,
    evaluate_every: int = 250,
    size: BlipSize | None = None,
) -> Iterator[dict[str, Any]]:
    """Train micro-blip as BLIP was, see `ovsslib.miniature.training.contrast`."""
    size = size or contrast.SIZE

    def build(colours: dict[str, frozenset[str]] | None) -> Architecture:
        packer = Packer(tokenizer(), size.positions, colours)
        trainer = contrast.ContrastTrainer(size, packer, recipe.list_share, local=recipe.local)

        def losses(step: Step) -> dict[str, torch.Tensor]:
            last = step.done >= 1 - recipe.last_share
            stage = "contrast" if step.done < recipe.first_share else "fine" if last else "all"
            pixels = normalise(step.pictures, step.rng)
            out: dict[str, torch.Tensor] = trainer(
                pixels, step.captions, step.rng, whole=step.whole, stage=stage
            )
            return out

        return Architecture(
            trainer,
            losses,
            contrast.WEIGHTS,
            partial(blip_scores, trainer, packer=packer),
            partial(save, trainer),
        )

    return train_matcher(schedule, recipe, cache, folder, evaluate_every, size, build)
