"""How well a matcher reads held-out images: hard negatives and retrieval.

All figures use captions alone. The captions of an image are true; a hard negative differs from a
true caption by one class name that none of the image's captions has. New scenes of training's
kind and scenes with a thing in a colour that training never shows it in are two questions, does it
generalise and does it compose, and get figures of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ovsslib.miniature.training.cache import CaptionData
from ovsslib.miniature.training.negatives import swap
from ovsslib.miniature.training.wordpiece import mentions, named

# scores(image numbers, captions) -> match scores, one for each pair
Scores = Callable[[Sequence[int], Sequence[str]], np.ndarray]


def hard_negatives(
    captions: Sequence[Sequence[str]], seed: int = 0
) -> tuple[list[int], list[str], np.ndarray]:
    """For every image one true caption and one with a class swapped.

    Returns:
        Image numbers, captions and truth (1 or 0), each of length `2 N`.
    """
    rng = np.random.default_rng([seed, 3])
    numbers: list[int] = []
    texts: list[str] = []
    truth: list[int] = []
    for number, options in enumerate(captions):
        usable = [c for c in options if mentions(c)]
        if not usable:
            continue
        caption = usable[rng.integers(len(usable))]
        false, _ = swap(caption, named(options), rng, colour_share=0.0)
        numbers += [number, number]
        texts += [caption, false]
        truth += [1, 0]
    return numbers, texts, np.array(truth)


def match_accuracy(
    scores: Scores, captions: Sequence[Sequence[str]], seed: int = 0
) -> dict[str, float]:
    """Share of captions judged right (score above 0 means match) and of pairs ranked right."""
    numbers, texts, truth = hard_negatives(captions, seed)
    score = scores(numbers, texts)
    return {
        "match_accuracy": float(np.mean((score > 0) == (truth == 1))),
        "pairs_ranked": float(np.mean(score[0::2] > score[1::2])),
    }


def retrieval_at_1(
    scores: Scores, captions: Sequence[Sequence[str]], n: int = 50
) -> dict[str, float]:
    """Retrieval among `n` images and their longest captions.

    Returns:
        Share of captions whose image comes first, and of images whose caption does. Chance is
        `1 / n`; two images may deserve one caption.
    """
    n = min(n, len(captions))
    longest = [max(options, key=len) for options in captions[:n]]
    grid = scores([i for i in range(n) for _ in range(n)], longest * n).reshape(n, n)
    return {
        "picture_at_1": float(np.mean(grid.argmax(0) == np.arange(n))),
        "caption_at_1": float(np.mean(grid.argmax(1) == np.arange(n))),
    }


def held_out_figures(
    scorer: Callable[[np.ndarray], Scores], held: tuple[CaptionData, CaptionData]
) -> dict[str, float]:
    """All held-out figures of a model, in 0..1.

    Args:
        scorer: Makes the match scores of some images (N, S, S, 3).
        held: From `ovsslib.miniature.training.cache.load_held`.

    Returns:
        `match_accuracy`, `pairs_ranked`, `picture_at_1` and `caption_at_1` on scenes of
        training's kind; `novel_match_accuracy` and `novel_pairs_ranked` on the others.
    """
    familiar, novel = held
    scores = scorer(familiar.pictures)
    figures = match_accuracy(scores, familiar.captions) | retrieval_at_1(scores, familiar.captions)
    others = match_accuracy(scorer(novel.pictures), novel.captions)
    figures |= {f"novel_{name}": value for name, value in others.items()}
    return {name: round(value, 4) for name, value in figures.items()}
