"""What `ovss train` trains: the function, the architecture and the schedule of every model.

Functions and architectures are named as strings, so that listing them imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from ovsslib.lookup import resolve

WORDS: dict[str, Any] = {"batch": 64, "rate": 1.5e-3, "matrix_rate": 0.008, "warmup": 0.03}
OTHERS: dict[str, Any] = WORDS | {"rate": 1e-3, "warmup": 0.05, "dtype": "bfloat16"}
BUDGET: dict[str, Any] = {"steps": 1000, **OTHERS}
"""The schedule of every system that is compared: 64,000 images are seen, about once each."""
IMAGES: dict[str, Any] = {"pictures": 60_000, "list_share": 0.3}
BLIP: dict[str, Any] = IMAGES | {"known_colours": True}


@dataclass(frozen=True)
class Trainable:
    """A model, or one recipe of it.

    Attributes:
        train: `"module:function"` of the training, or `"module:Plan"` of a system (see
            `ovsslib.trained.system`).
        size: `"module:name"` of the architecture: a dataclass, or one that is made; None where the
            plan says it.
        schedule: Fields of `Schedule`, as the model was trained.
        recipe: Fields of `Recipe` that are not the default.
        options: What the plan is made with.
    """

    train: str
    size: str | None
    schedule: Mapping[str, Any]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def start(self) -> tuple[Callable[..., Iterator[dict[str, Any]]], Callable[..., Any]]:
        """The training function, and what makes the architecture of given sizes."""
        train = resolve(self.train)
        if self.size is None:
            from ovsslib.trained.system import train_system

            plan = train(**self.options)
            return partial(train_system, plan=plan), plan.size
        size = resolve(self.size)
        made = is_dataclass(size) and not isinstance(size, type)
        return train, partial(replace, size) if made else size


def system(plan: str, *, pictures: int = 60_000, **options: Any) -> Trainable:
    """A system under the common budget.

    Args:
        plan: `"module:Plan"` in `ovsslib.trained`.
        pictures: Different images; fewer where something is computed of each beforehand.
        **options: Of the plan.
    """
    recipe = IMAGES | {"pictures": pictures}
    return Trainable(f"ovsslib.trained.{plan}", None, BUDGET, recipe, options)


_TRAINING = "ovsslib.miniature.training"
TRAINABLE: Mapping[str, Trainable] = MappingProxyType(
    {
        "micro-blip": Trainable(
            f"{_TRAINING}.recipe:train_micro_blip",
            f"{_TRAINING}.blip:BlipSize",
            {"steps": 4800, **WORDS},
        ),
        "micro-blip --recipe blip": Trainable(
            f"{_TRAINING}.recipe:train_micro_blip_contrast",
            f"{_TRAINING}.contrast:SIZE",
            {"steps": 5000, **OTHERS},
            BLIP,
        ),
        "micro-blip --recipe blip-local": Trainable(
            f"{_TRAINING}.recipe:train_micro_blip_contrast",
            f"{_TRAINING}.contrast:SIZE",
            {"steps": 4000, **OTHERS},
            BLIP | {"first_share": 0.5, "local": True},
        ),
        "micro-bridgetower": Trainable(
            f"{_TRAINING}.bridgetower_recipe:train_micro_bridgetower",
            f"{_TRAINING}.bridgetower:BridgeTowerSize",
            # A step computes 2.4 times as much as micro-blip's.
            {"steps": 2000, **WORDS, "dtype": "bfloat16"},
            {"pictures": 60_000, "whole_share": 0.12, "close_ups": 3, "known_colours": True},
        ),
        "micro-clip": Trainable(
            f"{_TRAINING}.clip:train_micro_clip",
            f"{_TRAINING}.clip:ClipSize",
            {"steps": 5000, **OTHERS},
            IMAGES,
        ),
        "micro-dino": Trainable(
            f"{_TRAINING}.dino:train_micro_dino",
            f"{_TRAINING}.dino:dino_size",
            {"steps": 5000, **OTHERS},
            {"pictures": 60_000},
        ),
        "micro-clippy": system("clippy:Clippy"),
        "micro-clippy --recipe mean": system("clippy:Clippy", pooling="mean"),
        "micro-clippy --recipe class-token": system("clippy:Clippy", pooling="class token"),
        "micro-tcl": system("tcl:Tcl"),
        "micro-tcl --recipe no-area": system("tcl:Tcl", prior=None),
        "micro-groupvit": system("groupvit:GroupVit"),
        "micro-groupvit --recipe zero-tokens": system("groupvit:GroupVit", spread=0.0),
        "micro-zeroseg": system("zeroseg:ZeroSeg", pictures=10_000),
        "micro-zeroseg --recipe whole": system("zeroseg:ZeroSeg", pictures=10_000, grid=1),
        "micro-maskclip-plus": system("maskclip_plus:MaskClipPlus"),
        "micro-pacl": system("pacl:Pacl"),
        "micro-pacl --recipe tau-1": system("pacl:Pacl", tau=1.0),
        "micro-pacl --recipe own": system("pacl:Pacl", own=True),
        "micro-segclip": system("segclip:SegClip", pictures=10_000),
        "micro-segclip --recipe sharp": system("segclip:SegClip", pictures=10_000, sharp=True),
        "micro-segclip --recipe no-superpixels": system(
            "segclip:SegClip", pictures=10_000, superpixels=False
        ),
        "micro-ovsegmentor": system("ovsegmentor:OvSegmentor"),
        "micro-ovsegmentor --recipe no-entities": system("ovsegmentor:OvSegmentor", entities=False),
        "micro-after-viewco": system("after_viewco:AfterViewCo"),
        "micro-after-viewco --recipe no-segments": system(
            "after_viewco:AfterViewCo", segments=False
        ),
        "micro-after-vil-seg": system("after_vil_seg:AfterVilSeg"),
        "micro-after-vil-seg --recipe no-vision": system("after_vil_seg:AfterVilSeg", vision=False),
    }
)
"""Model, or model and recipe -> how it is trained."""


def recipe_name(model: str, recipe: str | None) -> str:
    """The key of `TRAINABLE` for a model and a recipe.

    Example:
        >>> recipe_name("micro-blip", "blip"), recipe_name("micro-tcl", None)
        ('micro-blip --recipe blip', 'micro-tcl')
    """
    return model if recipe is None else f"{model} --recipe {recipe}"
