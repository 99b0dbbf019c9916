"""One BLIP twice: LAVIS's own network and ovsslib's, with the same weights.

Imported by the tests of this folder, which `make test-lavis` runs in LAVIS's environment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

from ovsslib.pnp.salience import attention_gradient, attention_map, gradcam_map
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip.net import BlipNet
from ovsslib.vlm.lavis.backend import LavisMatcher, build
from ovsslib.vlm.lavis.names import VISION_LAYER_NORM_EPS, rename_state
from ovsslib.vlm.lavis.tokenizer import read_vocabulary
from ovsslib.vlm.sizes import BlipSizes, EncoderSizes
from ovsslib.vlm.weights import fill
from support.helpers import tiny_vocabulary

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "released_code"
# Reading here makes a missing file an error of collection, never a skip.
CASE = json.loads((GOLDEN / "case.json").read_text())
EXPECTED = load_file(GOLDEN / "expected.safetensors")
WEIGHTS = load_file(GOLDEN / "weights_lavis_names.safetensors")
# Of unequal length, with a name of several tokens and one of pieces of words.
TEXTS = ("A picture of cat", "a picture of hotdog, fire hydrant", "a picture of hot air balloon")


def golden_shape(eps: float = VISION_LAYER_NORM_EPS) -> BlipSizes:
    """Size of the golden network, whose heads are not 64 wide."""
    text, image = CASE["text"], CASE["vision"]
    return BlipSizes(
        image=EncoderSizes(image["width"], 4 * image["width"], image["depth"], image["heads"], eps),
        text=EncoderSizes(
            text["width"], 4 * text["width"], text["layers"], text["heads"], text["layer_norm_eps"]
        ),
        image_size=CASE["image_size"],
        patch=CASE["patch"],
        vocabulary=text["vocab"],
        positions=text["max_positions"],
        pad=0,
        shared=WEIGHTS["text_proj.weight"].shape[0],
    )


def both(
    shape: BlipSizes, weights: dict[str, torch.Tensor], tokenizer: Tokenizer, dtype: torch.dtype
) -> tuple[LavisMatcher, BlipMatcher]:
    """LAVIS's and ovsslib's matcher of the same weights, given under LAVIS's names."""
    theirs = build(shape)
    fill(theirs, {name: value.clone() for name, value in weights.items()}, "BlipITM")
    ours = BlipNet(shape)
    fill(ours, rename_state(weights), "BLIP")
    return LavisMatcher(theirs.to(dtype), tokenizer), BlipMatcher(ours.to(dtype), tokenizer)


def golden_pair(
    dtype: torch.dtype = torch.float64, eps: float = VISION_LAYER_NORM_EPS
) -> tuple[LavisMatcher, BlipMatcher]:
    """Both with the golden weights; ``eps`` is that of ovsslib's image encoder alone."""
    tokenizer = read_vocabulary(GOLDEN / "vocab.txt")
    theirs, ours = both(golden_shape(), WEIGHTS, tokenizer, dtype)
    if eps != VISION_LAYER_NORM_EPS:
        other = BlipNet(golden_shape(eps))
        fill(other, rename_state(WEIGHTS), "BLIP")
        ours = BlipMatcher(other.to(dtype), tokenizer)
    return theirs, ours


def write_random(path: Path, *, seed: int, heads: int, text_layers: int, side: int) -> Path:
    """A checkpoint file of a random BlipITM in LAVIS's format, BERT's kind of vocabulary beside it.

    Heads are 64 wide, as in all of LAVIS's files; patches are 4 pixels, ``side`` of them a side.
    """
    vocabulary = tiny_vocabulary()
    shape = BlipSizes(
        image=EncoderSizes(128, 192, 3, 2, VISION_LAYER_NORM_EPS),
        text=EncoderSizes(64 * heads, 96, text_layers, heads, 1e-12),
        image_size=4 * side,
        patch=4,
        vocabulary=len(vocabulary),
        positions=40,
        pad=0,
        shared=24,
    )
    torch.manual_seed(seed)
    model = build(shape)
    with torch.no_grad():  # wider than at the start of training, where attention is all but even
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape) * (0.1 if "norm" in name.lower() else 0.06))
    torch.save({"model": model.state_dict(), "epoch": 0}, path)
    (path.parent / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    return path


def pictures(count: int = 3) -> list[Image.Image]:
    """Smooth random images of different sizes."""
    rng = np.random.default_rng(3)
    sizes = ((64, 48), (50, 70), (96, 96))
    return [
        Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(
            sizes[number % 3], Image.Resampling.BICUBIC
        )
        for number in range(count)
    ]


def scaled_difference(one: Any, two: Any) -> float:
    """Largest difference of two stacks of maps, where the largest value is scaled to 1."""
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    assert one.shape == two.shape
    most = float(np.abs(two).max())
    assert most > 0, "maps of zeros agree with anything"
    return float(np.abs(one - two).max()) / most


def look(
    matcher: Any, pixels: torch.Tensor, layer: int, texts: tuple[str, ...] = TEXTS
) -> dict[str, np.ndarray]:
    """Logits (R, 2), attention maps (R, T, P) and GradCAM maps, all heads' mean."""
    tokens = matcher.encode_images(pixels)
    match = matcher.match(tokens, [matcher.tokenize(text) for text in texts], layer, gradient=True)
    slope = attention_gradient(match)
    return {
        "tokens": tokens.numpy(),
        "logits": match.logits.detach().numpy(),
        "probabilities": match.attention.detach().numpy(),
        "attention": attention_map(match.attention, None).detach().numpy(),
        "gradcam": gradcam_map(match.attention, slope, None).detach().numpy(),
        "gradient": slope.numpy(),
    }
