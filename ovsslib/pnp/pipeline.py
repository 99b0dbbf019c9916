"""PnP-OVSS: the five steps for single images and batches.

Letters: B images, R prompts (rows), K classes, P = h*w patches, H x W pixels.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ovsslib.errors import OvssError
from ovsslib.io.images import open_image
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.dropout import DropState, advance, black_out, start, visible_maps
from ovsslib.pnp.presets import default_config
from ovsslib.pnp.presets import preset as get_preset
from ovsslib.pnp.prompt import Prompt, build_prompts, check_classes
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps, Segmentation
from ovsslib.pnp.salience import image_maps, random_maps, round_maps
from ovsslib.vlm.state import own_state

if TYPE_CHECKING:
    from ovsslib.types import ImageLike
    from ovsslib.vlm.protocol import ImageTextMatcher, Match


@dataclass
class _Image:
    """One image on its way through the rounds."""

    pixels: np.ndarray
    classes: tuple[str, ...]
    prompts: list[Prompt]
    state: DropState
    match: float = 0.0
    attention: np.ndarray | None = None
    rounds: list[np.ndarray] = field(default_factory=list)
    dropped: list[np.ndarray] = field(default_factory=list)


class PnPOVSS:
    """Plug-and-play open-vocabulary segmentation (arXiv 2311.17095) with a frozen matcher.

    Args:
        matcher: The vision-language model.
        config: Settings.
        name: What to call the method in results.

    Raises:
        OvssError: The model has no such layer or head.
    """

    def __init__(
        self, matcher: ImageTextMatcher, config: PnPConfig, name: str = "pnp-ovss"
    ) -> None:
        for what, value, most in (
            ("layer", config.layer, matcher.layers),
            ("head", config.head, matcher.heads),
        ):
            if value is not None and value > most:
                raise OvssError(f"{what} {value} does not exist; {matcher.name} has 1 to {most}")
        self.matcher = matcher
        self.config = config
        self.name = name

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(getattr(self.matcher, "device", "cpu"))

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image.

        Args:
            image: What `ovsslib.io.images.open_image` accepts.
            classes: K class names in order, at least one.
            stages: Whether to keep the intermediate results (see `maps` and
                `ovsslib.pnp.refine.refine_maps`).

        Returns:
            Labels, planes, scores.

        Raises:
            OvssError: The image or the list of classes cannot be used: see
                `ovsslib.io.images.open_image` and `ovsslib.pnp.prompt.check_classes`.
        """
        return self.segment_batch([image], [check_classes(classes)], stages=stages)[0]

    def segment_batch(
        self,
        images: Iterable[ImageLike],
        classes_per_image: Iterable[Iterable[str]],
        *,
        stages: bool = False,
    ) -> list[Segmentation]:
        """Find each image's own classes; sizes and numbers of classes may differ.

        Args:
            images: B images.
            classes_per_image: B lists of names. An empty one (a filter found nothing) gives an
                all-background result.
            stages: Whether to keep the intermediate results.

        Returns:
            B segmentations.

        Raises:
            OvssError: As `segment`, except for empty lists.
        """
        return self.refine(self.maps(images, classes_per_image, stages=stages))

    def refine(self, batch: Sequence[Maps]) -> list[Segmentation]:
        """Step 5: what `maps` gave, to labels; with `crf_backend="torch"` on the model's device."""
        if self.config.crf_backend == "torch":
            from ovsslib.pnp.batched import refine_batch

            return refine_batch(batch, self.config, self.device)
        return [refine_maps(maps, self.config) for maps in batch]

    @own_state()
    def maps(
        self,
        images: Iterable[ImageLike],
        classes_per_image: Iterable[Iterable[str]],
        *,
        stages: bool = False,
    ) -> list[Maps]:
        """Steps 2 to 4: salience with dropout, before any refinement.

        Args:
            images: B images.
            classes_per_image: B lists of names.
            stages: Whether to keep, as numpy arrays: `attention` (K, h, w), the class names'
                attention before any dropout; `gradcam` (K, h, w), their GradCAM then (only with
                `salience="gradcam"`); `rounds` (T, K, h, w), the map of each round, 0 at
                dropped patches; `dropped` (T, h, w) bool, the patches each round did not see;
                `sum` (K, h, w).

        Returns:
            B results for `ovsslib.pnp.refine.refine_maps`.

        Raises:
            OvssError: As `segment_batch`.
        """
        images = _listed(images, "images")
        classes_per_image = _listed(classes_per_image, "lists of classes")
        if len(images) != len(classes_per_image):
            raise OvssError(f"{len(images)} images but {len(classes_per_image)} lists of classes")
        opened = [open_image(image) for image in images]
        names = [check_classes(classes, allow_empty=True) for classes in classes_per_image]
        prompts = [prompts_for(self.matcher, self.config, classes) for classes in names]
        active = [index for index, texts in enumerate(prompts) if texts]
        size = self.config.image_size or self.matcher.image_size
        if active:
            inputs = self.matcher.preprocess([opened[i] for i in active], self.config.image_size)
            size = inputs.shape[-1]
        side = size // self.matcher.patch_size
        batch = [
            _Image(np.asarray(image), classes, texts, start(len(classes), side * side))
            for image, classes, texts in zip(opened, names, prompts, strict=True)
        ]
        if active:
            self._run_rounds([batch[i] for i in active], inputs, side)
        return [self._maps(image, side, stages=stages) for image in batch]

    def _run_rounds(self, batch: list[_Image], pixels: torch.Tensor, side: int) -> None:
        """All rounds of a batch (steps 2 to 4): salience, sum, drop the most salient, repeat.

        Args:
            batch: B images with at least one prompt each; their state is advanced.
            pixels: (B, 3, S, S) the network's input.
            side: Patches along each side of the grid.
        """
        counts = [len(image.prompts) for image in batch]
        for number in range(self.config.rounds):
            if number == 0 or self.config.salience != "random":
                dropped = np.stack([image.state.dropped for image in batch])
                visible = black_out(pixels, dropped.reshape(-1, side, side), self._drop_colour())
                match = self._match(batch, visible)
                attention, salience = round_maps(match, self.config)
            rows = (values.split(counts) for values in (match.probability, attention, salience))
            for image, probability, looked, salient in zip(batch, *rows, strict=True):
                if number == 0:
                    image.match = float(probability.mean())
                    image.attention, _ = image_maps(looked, image.prompts, self.config)
                maps, token_sum = self._round(image, salient)
                image.rounds.append(visible_maps(maps, image.state.dropped))
                image.dropped.append(image.state.dropped)
                image.state = advance(image.state, maps, token_sum, self.config)

    def _match(self, batch: list[_Image], pixels: torch.Tensor) -> Match:
        """Each image against its prompts: one pass of the image encoder, one of the text's."""
        owner = [index for index, image in enumerate(batch) for _ in image.prompts]
        texts = [prompt.tokens for image in batch for prompt in image.prompts]
        tokens = self.matcher.encode_images(pixels)[owner]
        gradient = self.config.salience == "gradcam"
        return self.matcher.match(tokens, texts, self.config.layer, gradient=gradient)

    def _round(self, image: _Image, salience: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Class maps (K, P) of one image in this round, and their sum over tokens (P,)."""
        if self.config.salience != "random":
            return image_maps(salience, image.prompts, self.config)
        seed = zlib.crc32(image.pixels.tobytes(), self.config.seed) + image.state.round
        classes, patches = image.state.total.shape
        noise = random_maps(classes, patches, seed)
        return noise.numpy(), noise.sum(0).numpy()

    def _drop_colour(self) -> torch.Tensor:
        """(3,) what a dropped pixel becomes after normalisation: black, or the mean colour."""
        mean, std = torch.tensor(self.matcher.image_mean), torch.tensor(self.matcher.image_std)
        return -mean / std if self.config.drop_value == "black" else torch.zeros(3)

    def _maps(self, image: _Image, side: int, *, stages: bool) -> Maps:
        """Reshape one image's result to the patch grid."""

        def grid(array: np.ndarray) -> np.ndarray:
            return array.reshape(*array.shape[:-1], side, side)

        total = grid(image.state.total.astype(np.float32))
        kept: dict[str, np.ndarray] | None = {} if stages else None
        if kept is not None and image.attention is not None:
            kept["attention"] = grid(image.attention)
            if self.config.salience == "gradcam":
                kept["gradcam"] = grid(image.rounds[0])
            kept["rounds"] = grid(np.stack(image.rounds))
            kept["dropped"] = grid(np.stack(image.dropped))
            kept["sum"] = total
        return Maps(total, image.classes, image.match, image.pixels, kept)


def _listed(items: Iterable[Any], what: str) -> list[Any]:
    """The items of a batch; one image or one string is none."""
    if isinstance(items, str | bytes) or not isinstance(items, Iterable):
        raise OvssError(f"a batch is a list of {what}, got {type(items).__name__}")
    return list(items)


def prompts_for(
    matcher: ImageTextMatcher, config: PnPConfig, classes: Sequence[str]
) -> list[Prompt]:
    """What a model is asked for these classes; errors as `ovsslib.pnp.prompt.build_prompts`."""
    return build_prompts(
        classes,
        matcher.tokenize,
        prefix=config.prompt,
        separator=config.separator,
        spaces=config.name_spaces,
        max_tokens=matcher.max_tokens,
        per_prompt=config.classes_per_prompt,
    )


def build(
    vlm: str | os.PathLike[str] | ImageTextMatcher = "micro-blip",
    preset: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    *,
    download: bool = False,
    **overrides: Any,
) -> PnPOVSS:
    """PnP-OVSS with a model and a preset; what `ovsslib.load("pnp-ovss", ...)` calls.

    Args:
        vlm: Model name, folder or hub id (see `ovsslib.vlm.load_vlm`), or a loaded model.
        preset: A key of `ovsslib.pnp.presets.PRESETS`; None takes the one made for the model
            (see `ovsslib.pnp.presets.default_config`).
        device: See `ovsslib.vlm.load_vlm`.
        dtype: See there.
        download: See there.
        **overrides: Fields of `ovsslib.pnp.config.PnPConfig` to change.

    Raises:
        OvssError: Something is unknown, out of range or missing.
    """
    # Settings first: a mistyped key should not wait for a model to load.
    config = get_preset("blip" if preset is None else preset, **overrides)
    folder = None
    if isinstance(vlm, (str, os.PathLike)):
        from ovsslib.vlm import find_checkpoint, load_vlm

        name, vlm = vlm, load_vlm(vlm, device, dtype, download=download)
        folder = find_checkpoint(name)
    elif not hasattr(vlm, "encode_images"):
        raise OvssError(f"vlm must be a name, a folder or a loaded model, got {vlm!r:.80}")
    if preset is None:
        config = default_config(vlm, folder, **overrides)
    return PnPOVSS(vlm, config)
