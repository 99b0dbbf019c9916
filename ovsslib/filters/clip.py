"""CLIP as a class filter: is the image more like "a picture of a cat" than like any image?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ovsslib.errors import OvssError
from ovsslib.filters.base import MOST
from ovsslib.filters.thresholded import ThresholdedFilter
from ovsslib.io.download import hub_folder
from ovsslib.lookup import Count, Share, check_fields
from ovsslib.vlm import local_folder, open_device
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.sizes import read_config

if TYPE_CHECKING:
    from ovsslib.datasets.base import Dataset
    from ovsslib.types import Progress


@dataclass
class Clip(ThresholdedFilter):
    """Classes by open_clip's image-text similarity (the filter named `"clip"`).

    CLIP ranks texts; its scores have no zero. So each class's text is compared with a text that
    names no class, and the softmax of the two is the class's probability.

    Attributes:
        model: `"micro-clip"`, a folder with `open_clip_config.json`, a hub id
            (`"owner/name"`), or one of open_clip's own `"architecture:weights"`.
        threshold: 0..1, to be exceeded; None for the model's own.
        most: Most classes per image.
        prompt: Words before the class's name.
        neutral: The text without a class.
        device: Such as `"cpu"`; None for the best there is.
        download: Whether the network may be used for a model that is not cached yet.
    """

    model: str = "micro-clip"
    threshold: Share | None = None
    most: Count = MOST
    prompt: str = "a picture of a"
    neutral: str = "a picture"
    device: str | None = None
    download: bool = False

    def __post_init__(self) -> None:
        """Check the settings; the model is loaded when it is first needed."""
        check_fields(self, "clip's ")
        self._model: Any = None
        self._texts: dict[tuple[str, ...], Any] = {}

    @property
    def label(self) -> str:
        """The model's name without its folder."""
        is_folder = Path(self.model).is_dir()
        return Path(self.model).resolve().name if is_folder else self.model

    @property
    def described(self) -> dict[str, Any]:
        """Model, prompt, the text without a class, threshold and number of classes."""
        return {**super().described, "prompt": self.prompt, "neutral": self.neutral}

    def prepare(
        self, dataset: Dataset, names: Sequence[str], progress: Progress | None = None
    ) -> None:
        """Look for the model before the first image is read.

        Raises:
            OvssError: It is not on this machine.
        """
        if self.download:
            self.fetch()
        _open_clip_name(self.model)

    def fetch(self) -> None:
        """Fetch the model and its tokenizer; raises `OvssError` where that fails."""
        fetch_open_clip(self.model)

    def scores(self, dataset: Dataset, name: str) -> np.ndarray:
        """(C,) probabilities in 0..1 of each class's text against the neutral one."""
        import torch

        from ovsslib.vlm.state import own_state

        model, preprocess, device = self._load()
        with own_state():
            pixels = preprocess(dataset.image(name)).unsqueeze(0).to(device)
            image = model.encode_image(pixels, normalize=True)
            logits = (model.logit_scale.exp() * image @ self._encoded(dataset.classes).T)[0]
            # The softmax over two texts is the logistic function of their difference.
            probabilities = torch.sigmoid((logits[1:] - logits[0]).double()).cpu().numpy()
        return np.asarray(probabilities, np.float64)

    def _encoded(self, classes: tuple[str, ...]) -> Any:
        """Unit features (1 + C, D) of the neutral text and the classes' texts."""
        if classes not in self._texts:
            texts = [self.neutral, *(f"{self.prompt} {name}".strip() for name in classes)]
            model = self._load()[0]
            self._texts[classes] = encode_texts(model, self.model, texts, download=self.download)
        return self._texts[classes]

    def _load(self) -> tuple[Any, Any, Any]:
        """Model, preprocessing and device."""
        if self._model is None:
            device = str(open_device(self.device))
            model, preprocess = load_open_clip(self.model, device, download=self.download)
            self._model = (model, preprocess, device)
        return self._model


def load_open_clip(name: str, device: str = "cpu", *, download: bool = False) -> tuple[Any, Any]:
    """Load a CLIP through open_clip.

    Args:
        name: See `Clip`.
        device: Such as `"cpu"`.
        download: Whether the network may be used.

    Returns:
        The model, in evaluation mode, and the function that prepares an image for it.

    Raises:
        OvssError: The model is unknown, missing or damaged, or its weights want another activation.
    """
    import open_clip

    from ovsslib.vlm.inputs import check_colours, load_tokenizer
    from ovsslib.vlm.state import own_state
    from ovsslib.vlm.weights import check_size, read_weights

    target, weights = _open_clip_name(name, download=download)
    folder = target.partition("local-dir:")[2]
    quick = needs_quick_gelu(target, weights)
    with own_state(), _readable(f"CLIP model {name!r}"):
        if folder:
            config = read_config(Path(folder) / "open_clip_config.json")["model_cfg"]
            towers = (config[part] for part in ("vision_cfg", "text_cfg"))
            # A layer has 12 times the square of its width, and texts have a square mask.
            least = sum(
                int(np.sum(tower.get("layers", 1))) * tower.get("width", 0) ** 2
                + tower.get("context_length", 0) ** 2
                for tower in towers
            )
            check_size(least, read_weights(Path(folder)), folder)
            if "hf_tokenizer_name" in config["text_cfg"]:
                load_tokenizer(Path(folder))  # or an empty one would be made in its place
        model, _, preprocess = open_clip.create_model_and_transforms(
            target,
            device=device,
            force_quick_gelu=quick,
            **_pretrained(target, weights, download=download),
        )
        colours = open_clip.get_model_preprocess_cfg(model)
        check_colours(colours["mean"], colours["std"])
        check_weights(model, name)
    return model.eval(), preprocess


def fetch_open_clip(name: str) -> None:
    """Fetch a CLIP and its tokenizer, so that they are loaded without the network from then on.

    Args:
        name: See `Clip`; a folder or a model that is here already is left as it is.

    Raises:
        OvssError: It cannot be fetched.
    """
    if _open_clip_name(name, download=True)[1] is not None:
        # Only building it tells which further files of the hub, such as a tokenizer, it asks for.
        model, _ = load_open_clip(name, download=True)
        encode_texts(model, name, ["a"], download=True)


def _pretrained(architecture: str, weights: str | None, *, download: bool) -> dict[str, Any]:
    """Arguments that tell open_clip its weights, and how images are prepared for them.

    By their name open_clip would ask the network for newer ones even where it has them, so it is
    given their file, and what it knows of them.
    """
    from open_clip import get_pretrained_cfg
    from open_clip.pretrained import download_pretrained

    known = get_pretrained_cfg(architecture.replace("/", "-"), weights) if weights else {}
    if weights is None or not known:
        return {"pretrained": weights}
    file = download_pretrained(known) if download else _cached(known) or Path(weights).resolve()
    own = ("mean", "std", "interpolation", "resize_mode")
    return {"pretrained": str(file), **{f"image_{key}": known.get(key) for key in own}}


def _cached(known: Mapping[str, Any]) -> Path | None:
    """The file of weights in the hub's local cache; None where it is not there.

    Args:
        known: What `open_clip.get_pretrained_cfg` says of them.
    """
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, name = known.get("hf_hub", "").rpartition("/")
    if not repository:
        return None
    names = [Path(name).with_suffix(".safetensors").name, name] if name else []
    for each in names or [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]:
        place = try_to_load_from_cache(repository, each)
        if isinstance(place, str):
            return Path(place)
    return None


def needs_quick_gelu(architecture: str, weights: str | None) -> bool:
    """Whether weights were trained with QuickGELU, so that open_clip has to build it.

    open_clip takes the activation from the architecture's name, and only warns where weights that
    it knows were trained with another.

    Args:
        architecture: Of open_clip, such as `"ViT-B-16"` or `"ViT-B-16-quickgelu"`.
        weights: Such as `"openai"`; of a file nothing is known, and None goes with a folder, which
            says it in its own settings.

    Raises:
        OvssError: The architecture has QuickGELU and the weights were trained with GELU.

    Example:
        >>> needs_quick_gelu("ViT-B-16", "openai"), needs_quick_gelu("ViT-B-16", "laion400m_e32")
        (True, False)
    """
    from open_clip import get_pretrained_cfg

    if weights is None:
        return False
    plain = architecture.replace("/", "-").removesuffix("-quickgelu")
    known = get_pretrained_cfg(plain, weights)
    quick = bool(known.get("quick_gelu"))
    if known and not quick and architecture.endswith("-quickgelu"):
        raise OvssError(
            f"the weights {weights!r} were trained with GELU, not QuickGELU; give {plain}:{weights}"
        )
    return quick


def encode_texts(model: Any, name: str, texts: Sequence[str], *, download: bool = False) -> Any:
    """Encode texts with a model of `load_open_clip`.

    Args:
        model: The model.
        name: The name it was loaded by; it also names the tokenizer.
        texts: N texts.
        download: Whether the network may be used for the tokenizer.

    Returns:
        Unit features (N, D), a tensor where the model is.

    Raises:
        OvssError: The tokenizer cannot be loaded.
    """
    import open_clip
    import torch

    from ovsslib.vlm.state import own_state

    target, _ = _open_clip_name(name, download=download)
    with _readable(f"the tokenizer of CLIP model {name!r}"):
        tokenize = open_clip.get_tokenizer(target)
    device = model.logit_scale.device
    with own_state():
        parts = [
            model.encode_text(tokenize(list(texts[i : i + 64])).to(device), normalize=True)
            for i in range(0, len(texts), 64)
        ]
        return torch.cat(parts)


_ADVICE = (
    "give micro-clip, a folder with open_clip_config.json, a hub id such as "
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K, or ViT-B-32:openai; what is not on this machine needs "
    "download=true (ovss run, ovss tune: --download)"
)


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn whatever the readers of a model's files raise into one clear error."""
    try:
        yield
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OvssError(f"{what} cannot be loaded ({reason}); {_ADVICE}") from error


def open_clip_folder(name: str) -> Path | None:
    """The folder of a model in open_clip's format; None where none of this name is here."""
    return local_folder(name, "open_clip_config.json")


def _open_clip_name(name: str, *, download: bool = False) -> tuple[str, str | None]:
    """A model's name as open_clip reads it, and its weights where the name does not imply them."""
    folder = open_clip_folder(name)
    if folder:
        return f"local-dir:{folder}", None
    if name.count("/") == 1 and ":" not in name and not name.startswith((".", "/", "~")):
        try:
            return f"local-dir:{hub_folder(name, download=download)}", None
        except OvssError as error:
            raise OvssError(f"CLIP {error}; {_ADVICE}") from error
    architecture, _, weights = name.partition(":")
    if weights and not (download or Path(weights).is_file()):
        from open_clip import get_pretrained_cfg

        known = get_pretrained_cfg(architecture.replace("/", "-"), weights)
        weights = weights if _cached(known) else ""
    if not weights:
        raise OvssError(f"CLIP model {name!r} is not on this machine; {_ADVICE}")
    return architecture, weights
