"""Images and captions for training, rendered once to a cache of shards.

A shard holds images `(n, 128, 128, 3)` uint8 and their captions; smaller inputs are reduced
from it, so that one cache serves every input size. Masks exist while a scene is
drawn and are dropped there: nothing in this package sees one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ovsslib.errors import OvssError
from ovsslib.io.pool import ordered

SHARD = 500
CACHE_SIDE = 128
# Raised when what a split draws for an index changes, so that shards drawn before are not read.
DRAWING = {"train": 2, "heldout": 3, "novel": 1}
# New scenes of training's kind, and such with a (colour, thing) pair that training lacks.
HELD = ("heldout", "novel")


@dataclass(frozen=True)
class CaptionData:
    """Images `(N, S, S, 3)` uint8 and the captions of each."""

    pictures: np.ndarray
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.captions)


@dataclass(frozen=True)
class Shard:
    """Some examples of a split, see `prepare`."""

    split: str
    seed: int
    start: int
    stop: int
    close_ups: int

    def path(self, cache: Path) -> Path:
        """Its file."""
        kind = f"train-c{self.close_ups}" if self.split == "train" else self.split
        drawn = f"{kind}-v{DRAWING[self.split]}-s{self.seed}-{CACHE_SIDE}px"
        return cache / f"{drawn}-{self.start:06d}-{self.stop:06d}.npz"


def _shards(split: str, n: int, seed: int, close_ups: int) -> list[Shard]:
    return [
        Shard(split, seed, start, min(n, start + SHARD), close_ups) for start in range(0, n, SHARD)
    ]


def _write_shard(job: tuple[Path, Shard]) -> Path:
    # Imported here, so that training from a finished cache never loads the code that draws masks.
    from ovsslib.miniature.diorama.make import caption_pair

    cache, shard = job
    path = shard.path(cache)
    pairs = [
        caption_pair(shard.split, shard.seed, index, CACHE_SIDE, shard.close_ups)
        for index in range(shard.start, shard.stop)
    ]
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(
            file,
            pictures=np.stack([picture for picture, _ in pairs]),
            captions=np.array(json.dumps([captions for _, captions in pairs])),
        )
    temporary.replace(path)
    return path


def prepare(
    cache: Path,
    split: str,
    n: int,
    seed: int = 0,
    workers: int | None = None,
    close_ups: int = 2,
) -> Iterator[tuple[int, int]]:
    """Render what the cache lacks and yield `(shards ready, shards in all)` as it goes.

    Shards are written to a temporary name and renamed, so that a killed run loses at most the
    shards in flight. Every `close_ups`-th image of the training split shows one thing.
    """
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [(cache, shard) for shard in _shards(split, n, seed, close_ups)]
    missing = [job for job in jobs if not job[1].path(cache).exists()]
    done = len(jobs) - len(missing)
    yield done, len(jobs)
    if not missing:
        return
    for _ in ordered(_write_shard, missing, workers or os.cpu_count() or 1):
        done += 1
        yield done, len(jobs)


def _reduce(pictures: np.ndarray, side: int) -> np.ndarray:
    if pictures.shape[1] == side:
        return pictures
    size = (side, side)
    return np.stack(
        [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures]
    )


def load(
    cache: Path, split: str, n: int, side: int, seed: int = 0, close_ups: int = 2
) -> CaptionData:
    """Read `n` rendered examples, reduced to `side` x `side` pixels (at most 128).

    Raises:
        OvssError: A shard is missing or broken, or `side` is too large.
    """
    if not 8 <= side <= CACHE_SIDE:
        raise OvssError(
            f"the cache holds {CACHE_SIDE} px images: side {side} is not in 8..{CACHE_SIDE}"
        )
    pictures, captions = [], []
    for path in (shard.path(cache) for shard in _shards(split, n, seed, close_ups)):
        try:
            with np.load(path) as stored:
                pictures.append(_reduce(stored["pictures"], side))
                captions += json.loads(str(stored["captions"]))
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise OvssError(
                f"cannot read {path.name} ({error}): delete it and render again"
            ) from error
    return CaptionData(np.concatenate(pictures), captions)


def load_held(cache: Path, n: int, side: int, seed: int = 0) -> tuple[CaptionData, CaptionData]:
    """The two held-out sets, `n` examples each, see `HELD` and `load`."""
    familiar, novel = (load(cache, split, n, side, seed) for split in HELD)
    return familiar, novel
