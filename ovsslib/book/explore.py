"""The method under sliders in JupyterLab: any image, any vision-language model.

.. code-block:: python

    from ovsslib.book.explore import explore
    explore("photo.jpg", ["house", "tree", "sky"], vlm="micro-blip")

The model runs once for each picture that Salience DropOut makes; after that a change costs
refinement and drawing alone.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ovsslib.draw.overlay import found_classes, overlay_image, percent
from ovsslib.errors import OvssError
from ovsslib.pnp.pipeline import PnPOVSS, build
from ovsslib.pnp.prompt import check_classes
from ovsslib.pnp.remember import RememberingMatcher

if TYPE_CHECKING:
    from ovsslib.pnp.config import PnPConfig
    from ovsslib.pnp.result import Segmentation
    from ovsslib.types import ImageLike
    from ovsslib.vlm.protocol import ImageTextMatcher

_CELL = 150
"""Width in pixels of a round's picture."""
_BRIGHT = np.array([253, 231, 37], np.float32)
"""The strongest salience: from grey to yellow, readable without telling red from green."""
_MOST_ROUNDS, _MOST_PATCHES = 8, 60


def explore(
    image: ImageLike,
    classes: Sequence[str],
    vlm: str | ImageTextMatcher = "micro-blip",
    **settings: Any,
) -> Explorer:
    """Sliders for one image; the last expression of a cell shows them.

    Args:
        image: What `ovsslib.io.images.open_image` accepts.
        classes: K class names.
        vlm: See `ovsslib.pnp.pipeline.build`; its family must give all layers at once.
        **settings: Where the sliders stand at first, and what has no slider. The dense CRF is off
            unless `crf=True`: it takes longer than all the rest.

    Raises:
        OvssError: As `ovsslib.pnp.pipeline.PnPOVSS.segment`, or ipywidgets is missing.
    """
    method = build(vlm, **{"crf": False} | settings)
    return Explorer(image, check_classes(classes), method)


class Explorer:
    """The widgets, and what they show.

    Args:
        image: The image.
        classes: Names of classes, checked.
        method: PnP-OVSS with the settings to begin with.

    Attributes:
        controls: The widget of each setting.
        result: The segmentation that is shown.
        widget: All of it.
    """

    def __init__(self, image: ImageLike, classes: tuple[str, ...], method: PnPOVSS) -> None:
        try:
            import ipywidgets as widgets
        except ImportError as error:
            raise OvssError(f"{error}; install it: pip install 'ovsslib[book]'") from None
        self._image, self._names = image, classes
        self._matcher: Any = RememberingMatcher(method.matcher)
        self._config = method.config
        self.controls = _controls(widgets, method.config, self._matcher)
        self._class = widgets.Dropdown(options=list(classes), description="maps of")
        self._labels, self._rounds = (widgets.Image(format="png") for _ in range(2))
        self._words = widgets.HTML()
        for control in (*self.controls.values(), self._class):
            control.observe(self._update, names="value")
        left = widgets.VBox([*self.controls.values(), self._class])
        top = widgets.HBox([left, widgets.VBox([self._labels, self._words])])
        self.widget = widgets.VBox([top, self._rounds])
        self.result: Segmentation
        self._update()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """What JupyterLab shows."""
        return self.widget._repr_mimebundle_(**options)

    def _update(self, _: object = None) -> None:
        """Segment with the settings of the sliders and draw."""
        chosen = {name: control.value for name, control in self.controls.items()}
        config = self._config.replace(**chosen)
        method = PnPOVSS(self._matcher, config)
        self.result = method.segment(self._image, self._names, stages=True)
        result, k = self.result, self._names.index(self._class.value)
        self._labels.value = _png(overlay_image(result.image, result.labels, result.classes))
        found = found_classes(result.labels, result.classes)
        said = ", ".join(f"{name} {percent(share)}" for _, name, share in found) or "nothing"
        self._labels.alt = f"Labels found: {said}"
        self._words.value = f"The prompt matches with a probability of {percent(result.match)}."
        self._rounds.value = _png(_strip(result, k))
        self._rounds.alt = f"Each round's map of {self._names[k]}, then their sum"


def _controls(widgets: Any, config: PnPConfig, matcher: Any) -> dict[str, Any]:
    """A slider or a list for each setting."""
    late = {"continuous_update": False}
    heads = [("mean", None), *((str(n), n) for n in range(1, matcher.heads + 1))]
    rounds, patches = max(_MOST_ROUNDS, config.rounds), max(_MOST_PATCHES, config.patches_per_round)

    def whole(value: int, low: int, high: int, words: str) -> Any:
        return widgets.IntSlider(value, low, high, description=words, **late)

    def part(value: float, high: float, step: float, words: str) -> Any:
        return widgets.FloatSlider(
            value=value, max=high, step=step, description=words, readout_format=".3f"
        )

    return {
        "salience": widgets.Dropdown(
            options=["gradcam", "attention"], value=config.salience, description="salience"
        ),
        "layer": whole(config.layer, 1, matcher.layers, "layer"),
        "head": widgets.Dropdown(options=heads, value=config.head, description="head"),
        "rounds": whole(config.rounds, 1, rounds, "rounds"),
        "patches_per_round": whole(config.patches_per_round, 0, patches, "patches"),
        "threshold": part(config.threshold, 1, 0.01, "threshold"),
        "blur": part(config.blur, max(0.1, config.blur), 0.005, "blur"),
    }


def _png(image: Image.Image) -> bytes:
    """A file's content; quick rather than small."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _strip(result: Segmentation, k: int) -> Image.Image:
    """The maps of one class side by side over the grey image: each round's, then the sum.

    Maps of rounds share their scale; dropped patches are black.
    """
    stages: Any = result.stages
    rounds, dropped = stages["rounds"][:, k], stages["dropped"]
    scale = _CELL / result.image.shape[1]
    size = (_CELL, max(1, round(result.image.shape[0] * scale)))
    grey = np.asarray(Image.fromarray(result.image).convert("L").resize(size), np.float32)
    total = stages["sum"][k]
    pairs = [(each, gone, rounds.max()) for each, gone in zip(rounds, dropped, strict=True)]
    cells = []
    for values, gone, top in [*pairs, (total, np.zeros_like(dropped[0]), total.max())]:
        share = values / top if top > 0 else values
        heat = Image.fromarray(share.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        level = np.asarray(heat)[..., None]
        cell = grey[..., None] * (1 - 0.8 * level) + 0.8 * level * _BRIGHT
        hidden = np.asarray(Image.fromarray(gone).resize(size, Image.Resampling.NEAREST))
        cells.append(np.where(hidden[..., None], 0, cell).clip(0, 255).astype(np.uint8))
    gap = np.full((size[1], 4, 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([part for c in cells for part in (c, gap)][:-1], axis=1))
