"""Methods with models of published size and random weights: how fast they are, without a download.

Sizes are those of the checkpoints in `ovsslib.methods.DEFAULTS`: the defaults of transformers'
configurations, and beside each what its checkpoint has otherwise. PnP-OVSS has BLIP-large
(`ovsslib.bench.random_models`), methods on a CLIP have ViT-B/16 (`ovsslib.bench.random_clip`).

Random weights say nothing about quality, and two things about them change the time:

- The published tokenizers are not here. CLIP's and SentencePiece's are replaced by the one that
  micro-clip was trained with (152 words and letters), Grounding DINO's by the same words at numbers
  where BERT's own special tokens keep theirs; tables of embeddings have their full size. Words that
  it does not know are spelled out, so a name may have more tokens. SigLIP, OWLv2, SAM 3 and TIPSv2
  see texts of one length anyway, or nearly so.
- A random detector gives nearly every box a score above the threshold, so that SAM 2 gets as many
  boxes as the settings allow (`ovsslib.peers.boxes.BoxConfig.most`): the most that it may cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import ovsslib
from ovsslib.bench.random_clip import ON_CLIP, clip_method
from ovsslib.bench.random_models import LARGE, SEED, open_model
from ovsslib.lookup import pick, resolve
from ovsslib.paths import data
from ovsslib.peers.boxes import Sam2
from ovsslib.vlm.state import own_state

_TEXT = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
"""Numbers of micro-clip's [CLS], [SEP] and [PAD]: where a text ends is where it is read out."""
_SPECIAL = {
    "[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, ".": 1012, "?": 1029,
}  # fmt: skip
"""Where BERT has them; Grounding DINO knows the ends of phrases by these numbers."""


@dataclass(frozen=True)
class Size:
    """What a model is made of; names are transformers' classes.

    Attributes:
        model: Its class.
        config: The class of its configuration.
        changes: What its checkpoint has otherwise than the configuration's defaults.
        processor: The class of its processor.
        images: The class of the processor's part for images.
        side: Side in pixels of the square that images are brought to; None for that part's own
            default.
        words: Gives its tokenizer; None where the processor has none.
    """

    model: str
    config: str
    changes: dict[str, Any]
    processor: str
    images: str
    side: int | None
    words: Callable[[], Any] | None


def wordpiece() -> Any:
    """micro-clip's tokenizer."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(data("checkpoints", "micro-clip"))


def bert_words() -> Any:
    """WordPiece with micro-clip's words, and special tokens at BERT's numbers."""
    from transformers import BertTokenizer

    taken = set(_SPECIAL.values())
    words = [word for word in wordpiece().get_vocab() if word not in _SPECIAL]
    free = [number for number in range(1100) if number not in taken]
    places = dict(zip(words, free, strict=False)) | _SPECIAL
    unused = {f"[unused{number}]": number for number in free[len(words) :]}
    return BertTokenizer(vocab=places | unused, do_lower_case=True)


SIZES: dict[str, Size] = {
    "groupvit-gcc-yfcc": Size(
        "GroupViTModel", "GroupViTConfig", {"text_config": _TEXT},
        "CLIPProcessor", "CLIPImageProcessor", None, wordpiece,
    ),
    "tipsv2-b14": Size(
        "Tipsv2Model", "Tipsv2Config", {},
        "Tipsv2Processor", "Tipsv2ImageProcessor", None, wordpiece,
    ),
    "siglip2-base-patch16-224": Size(
        # Gemma's vocabulary, where SigLIP has one of 32 000.
        "SiglipModel", "SiglipConfig", {"text_config": {**_TEXT, "vocab_size": 256_000}},
        "SiglipProcessor", "SiglipImageProcessor", None, wordpiece,
    ),
    "clipseg-rd64-refined": Size(
        "CLIPSegForImageSegmentation", "CLIPSegConfig",
        {
            "text_config": _TEXT, "vision_config": {"patch_size": 16},
            "use_complex_transposed_convolution": True,
        },
        "CLIPSegProcessor", "ViTImageProcessor", 352, wordpiece,
    ),
    "owlv2-base-patch16-ensemble": Size(
        "Owlv2ForObjectDetection", "Owlv2Config",
        {"text_config": _TEXT, "vision_config": {"image_size": 960}},
        "Owlv2Processor", "Owlv2ImageProcessor", 960, wordpiece,
    ),
    "grounding-dino-tiny": Size(
        "GroundingDinoForObjectDetection", "GroundingDinoConfig", {},
        "GroundingDinoProcessor", "GroundingDinoImageProcessor", None, bert_words,
    ),
    "sam2.1-hiera-tiny": Size(
        "Sam2Model", "Sam2Config", {}, "Sam2Processor", "Sam2ImageProcessor", None, None,
    ),
    "sam3": Size(
        "Sam3Model", "Sam3Config", {"text_config": _TEXT},
        "Sam3Processor", "Sam3ImageProcessor", None, wordpiece,
    ),
}  # fmt: skip
"""Name of a checkpoint -> its size."""

HUB: dict[str, tuple[str, str]] = {
    "groupvit": ("ovsslib.peers.groupvit:GroupTower", "groupvit-gcc-yfcc"),
    "tipsv2": ("ovsslib.peers.tipsv2:TipsTower", "tipsv2-b14"),
    "siglip2": ("ovsslib.peers.siglip2:SigLipTower", "siglip2-base-patch16-224"),
    "clipseg": ("ovsslib.peers.clipseg:ClipSegModel", "clipseg-rd64-refined"),
    "owlv2-sam2": ("ovsslib.peers.owlv2_sam2:OwlPair", "owlv2-base-patch16-ensemble"),
    "grounding-dino-sam2": (
        "ovsslib.peers.grounding_dino_sam2:GroundingPair",
        "grounding-dino-tiny",
    ),
    "sam3": ("ovsslib.peers.sam3:Sam3", "sam3"),
}
"""Method -> the class of its model, and a key of `SIZES`; a pair has SAM 2 besides."""
METHODS = ("pnp-ovss", *ON_CLIP, *HUB)
"""Methods that have a random model."""


def config_of(size: Size) -> Any:
    """A model's configuration."""
    import transformers

    config = getattr(transformers, size.config)()
    _change(config, size.changes)
    return config


def _change(config: Any, changes: Mapping[str, Any]) -> None:
    """Change a configuration, and those in it; given whole they would lose other defaults."""
    for key, value in changes.items():
        if isinstance(value, dict):
            _change(getattr(config, key), value)
        else:
            setattr(config, key, value)


def model_of(size: Size) -> Any:
    """A model with random weights, as transformers draws them; always the same."""
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return getattr(transformers, size.model)(config_of(size))


def processor_of(size: Size) -> Any:
    """Its processor."""
    import transformers

    square = {"height": size.side, "width": size.side}
    parts = [getattr(transformers, size.images)(**({"size": square} if size.side else {}))]
    if size.words is not None:
        parts.append(size.words())
    return getattr(transformers, size.processor)(*parts)


@own_state()
def _drawn(kind: Any, name: str, device: Any) -> Any:
    """A `ovsslib.peers.hub.Hub` of a class, with random weights in place of a checkpoint's."""

    def read(self: Any, place: Path, fetch: str) -> tuple[Any, Any]:
        del place, fetch
        model = model_of(SIZES[name]).to(self.device).eval()
        return model.requires_grad_(requires_grad=False), processor_of(SIZES[name])

    found = {"_folder": classmethod(lambda _, name, download: Path(name)), "_read": read}
    return type(kind.__name__, (kind,), found)(f"{name}-random", device)


def random_method(method: str, device: Any = None) -> Any:
    """A segmentation method whose models have random weights and the published size.

    Args:
        method: One of `METHODS`.
        device: Such as `"cpu"`; None for the best there is.

    Returns:
        See `ovsslib.load`.

    Raises:
        OvssError: The method has no random model, or the device cannot be had.
    """
    pick("method with a random model", method, dict.fromkeys(METHODS))
    if method == "pnp-ovss":
        return ovsslib.load(method, vlm=open_model(LARGE, device=device))
    if method in ON_CLIP:
        return clip_method(method, device)
    target, name = HUB[method]
    kind = resolve(target)
    detector = getattr(kind, "detector_class", None)
    if detector is None:
        return ovsslib.load(method, vlm=_drawn(kind, name, device))
    pair = kind.__new__(kind)
    pair.detector = _drawn(detector, name, device)
    pair.sam = _drawn(Sam2, "sam2.1-hiera-tiny", device)
    pair.name = f"{pair.detector.name}+{pair.sam.name}"
    pair.device, pair.dtype = pair.detector.device, pair.detector.dtype
    return ovsslib.load(method, vlm=pair)
