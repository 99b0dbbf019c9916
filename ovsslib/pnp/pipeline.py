"""PnP-OVSS: the five steps for single images and batches.

Letters: B images, R prompts (rows), K classes, P = h*w patches, H x W pixels.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.config import preset as get_preset
from ovsslib.pnp.presets import default_config
from ovsslib.pnp.prompt import Prompt, build_prompts, check_classes
from ovsslib.pnp.refine import refine_maps
from ovsslib.pnp.result import Maps, Segmentation

if TYPE_CHECKING:
    import torch

    from ovsslib.pnp.dropout import DropState
    from ovsslib.types import ImageLike
    from ovsslib.vlm.protocol import ImageTextMatcher


@dataclass
class _Image:
    """One image on its way through the rounds."""

    pixels: np.ndarray
    classes: tuple[str, ...]
    prompts: list[Prompt]
    seed: int
    state: DropState
    match: float = 0.0
    rounds: list[np.ndarray] = field(default_factory=list)
    dropped: list[np.ndarray] = field(default_factory=list)
    attention: np.ndarray | None = None


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

    def segment(
        self, image: ImageLike, classes: Sequence[str], *, stages: bool = False
    ) -> Segmentation:
        """Find classes in one image.

        Args:
            image: A path, a PIL image, or an (H, W, 3) uint8 array.
            classes: K class names, at least one.
            stages: Whether to keep the intermediate results (see `maps` and
                `ovsslib.pnp.refine.refine_maps`).

        Returns:
            Labels, planes, scores.

        Raises:
            OvssError: The image cannot be read, or the list of classes is empty, has an empty
                name or a duplicate.
        """
        return self.segment_batch([image], [check_classes(classes)], stages=stages)[0]

    def segment_batch(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
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
        found = self.maps(images, classes_per_image, stages=stages)
        return [refine_maps(maps, self.config) for maps in found]

    def maps(
        self,
        images: Sequence[ImageLike],
        classes_per_image: Sequence[Sequence[str]],
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
        if len(images) != len(classes_per_image):
            raise OvssError(f"{len(images)} images but {len(classes_per_image)} lists of classes")
        # Heavy imports wait until a model is really used.
        from ovsslib.io.images import open_image
        from ovsslib.pnp import dropout

        pictures = [open_image(image) for image in images]
        work = []
        for picture, names in zip(pictures, classes_per_image, strict=True):
            classes = check_classes(names, allow_empty=True)
            pixels = np.asarray(picture)
            seed = zlib.crc32(pixels.tobytes(), self.config.seed)
            state = dropout.start(len(classes), 0)
            prompts = prompts_for(self.matcher, self.config, classes)
            work.append(_Image(pixels, classes, prompts, seed, state))
        active = [index for index, item in enumerate(work) if item.prompts]
        if active:
            inputs = self.matcher.preprocess([pictures[i] for i in active], self.config.image_size)
            self._run_rounds([work[i] for i in active], inputs)
        return [self._finish(item, stages=stages) for item in work]

    def _run_rounds(self, work: list[_Image], pixels: torch.Tensor) -> None:
        """All rounds for the images of a batch; their state ends up in `work`."""
        import torch

        from ovsslib.pnp import dropout, salience

        matcher, config = self.matcher, self.config
        side = pixels.shape[-1] // matcher.patch_size
        for item in work:
            item.state = dropout.start(len(item.classes), side * side)
        rows = [(index, prompt) for index, item in enumerate(work) for prompt in item.prompts]
        texts = [prompt.tokens for _, prompt in rows]
        owner = torch.tensor([index for index, _ in rows], device=pixels.device)
        mean, std = torch.tensor(matcher.image_mean), torch.tensor(matcher.image_std)
        colour = -mean / std if config.drop_value == "black" else torch.zeros(3)
        gradient = config.salience == "gradcam"
        for number in range(config.rounds):
            gone = np.stack([item.state.dropped for item in work]).reshape(-1, side, side)
            if number == 0 or config.salience != "random":
                seen = dropout.black_out(pixels, gone, colour) if gone.any() else pixels
                tokens = matcher.encode_images(seen)[owner]
                match = matcher.match(tokens, texts, config.layer, gradient=gradient)
                side, _ = salience.patch_grid(match.attention.shape[-1])
                found = looks = salience.attention_map(match.attention, config.head)  # (R, T, P)
                if gradient:
                    slope = salience.attention_gradient(match, config.score)
                    found = salience.gradcam_map(match.attention, slope, config.head)
            for index, item in enumerate(work):
                mine = [row for row, (image, _) in enumerate(rows) if image == index]
                if number == 0:
                    item.match = float(match.probability[mine].mean())
                    item.attention = self._classes(looks[mine], item.prompts)
                if config.salience == "random":
                    noise = salience.random_maps(len(item.classes), side * side, item.seed + number)
                    maps, aggregate = noise.numpy(), noise.sum(0).numpy()
                else:
                    maps = self._classes(found[mine], item.prompts)
                    aggregate = self._aggregate(found[mine], item.prompts)
                item.dropped.append(item.state.dropped)
                item.rounds.append(dropout.visible_maps(maps, item.state.dropped))
                item.state = dropout.advance(
                    item.state,
                    maps,
                    aggregate,
                    config.patches_per_round,
                    drop_zero=config.drop_zero,
                    ties=config.ties,
                    round0_twice=config.round0_twice,
                )

    def _classes(self, maps: torch.Tensor, prompts: Sequence[Prompt]) -> np.ndarray:
        """Token maps (R, T, P) of one image's prompts to class maps (K, P)."""
        from ovsslib.pnp.salience import class_maps

        parts = [
            class_maps(rows, prompt.spans, self.config.last_name).cpu().numpy()
            for rows, prompt in zip(maps, prompts, strict=True)
        ]
        return np.concatenate(parts)

    def _aggregate(self, maps: torch.Tensor, prompts: Sequence[Prompt]) -> np.ndarray:
        """Salience (P,) summed over the class tokens of all of one image's prompts."""
        total = np.zeros(maps.shape[-1], np.float32)
        for rows, prompt in zip(maps, prompts, strict=True):
            tokens = [position for span in prompt.spans for position in span]
            length = len(prompt.tokens.ids)
            if self.config.drop_sep and length < maps.shape[1]:
                tokens.append(length - 1)
            total = total + rows[tokens].sum(dim=0).cpu().numpy()
        return total

    def _finish(self, item: _Image, *, stages: bool) -> Maps:
        """Reshape one image's result to the patch grid."""
        side = round(len(item.state.dropped) ** 0.5)

        def grid(array: np.ndarray) -> np.ndarray:
            return array.reshape(*array.shape[:-1], side, side)

        total = grid(item.state.total.astype(np.float32))
        kept: dict[str, np.ndarray] | None = {} if stages else None
        if kept is not None and item.attention is not None:
            kept["attention"] = grid(item.attention)
            if self.config.salience == "gradcam":
                kept["gradcam"] = grid(item.rounds[0])
            kept["rounds"] = grid(np.stack(item.rounds))
            kept["dropped"] = grid(np.stack(item.dropped))
            kept["sum"] = total
        return Maps(total, item.classes, item.match, item.pixels, kept)


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
        preset: A key of `ovsslib.pnp.config.PRESETS`; None takes the one made for the model
            (see `ovsslib.pnp.presets.default_config`).
        device: See `ovsslib.vlm.load_vlm`.
        dtype: See there.
        download: See there.
        **overrides: Fields of `ovsslib.pnp.config.PnPConfig` to change.

    Raises:
        OvssError: Something is unknown, out of range or missing.
    """
    # Settings first: a mistyped key should not wait for a model to load.
    config = get_preset(preset or "blip", **overrides)
    folder = None
    if isinstance(vlm, (str, os.PathLike)):
        from ovsslib.vlm import find_checkpoint, load_vlm

        name, vlm = vlm, load_vlm(vlm, device, dtype, download=download)
        folder = find_checkpoint(name)
    if preset is None:
        config = default_config(vlm, folder, **overrides)
    return PnPOVSS(vlm, config)
