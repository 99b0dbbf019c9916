"""How well a matcher reads held-out pictures: hard negatives and retrieval.

Both figures use captions alone. ``captions_of`` a picture are true; a hard negative differs from a
true caption by one class name that none of the picture's captions has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ovsslib.training.negatives import swap
from ovsslib.training.words import mentions, named

# scores(picture numbers, captions) -> match scores, one for each pair
Scores = Callable[[Sequence[int], Sequence[str]], np.ndarray]


def hard_negatives(
    captions: Sequence[Sequence[str]], seed: int = 0
) -> tuple[list[int], list[str], np.ndarray]:
    """For every picture one true caption and one with a class swapped.

    Returns:
        Picture numbers, captions and truth (1 or 0), each of length ``2 N``.
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
    """Retrieval among ``n`` pictures and their longest captions.

    Returns:
        Share of captions whose picture comes first, and of pictures whose caption does. Chance is
        ``1 / n``; two pictures may deserve one caption.
    """
    n = min(n, len(captions))
    longest = [max(options, key=len) for options in captions[:n]]
    grid = scores([i for i in range(n) for _ in range(n)], longest * n).reshape(n, n)
    return {
        "picture_at_1": float(np.mean(grid.argmax(0) == np.arange(n))),
        "caption_at_1": float(np.mean(grid.argmax(1) == np.arange(n))),
    }
