"""What goes into a matcher: images, texts, and the files that say how to prepare both."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

from ovsslib.errors import OvssError

if TYPE_CHECKING:
    from ovsslib.vlm.protocol import ImageTextMatcher, Tokens

# CLIP's statistics, which the processors of BLIP and BridgeTower use as well; for folders without
# a processor.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


Colour = tuple[float, float, float]


def check_colours(mean: Sequence[float], std: Sequence[float]) -> tuple[Colour, Colour]:
    """What images are normalised by, for red, green and blue on a scale of 0 to 1.

    Args:
        mean: Three numbers from 0 to 1.
        std: Three numbers from 0.001 to 10.

    Raises:
        OvssError: It is something else, such as numbers on a scale of 0 to 255.
    """
    out = []
    for name, values, least, most in (("mean", mean, 0, 1), ("std", std, 0.001, 10)):
        try:
            red, green, blue = map(float, values)
        except (TypeError, ValueError, OverflowError):
            red = green = blue = math.nan
        if not all(least <= value <= most for value in (red, green, blue)):
            raise OvssError(
                f"image_{name} must be three numbers from {least} to {most}, got "
                f"{reprlib.repr(values)}"
            )
        out.append((red, green, blue))
    return out[0], out[1]


def squash(
    images: Sequence[Image.Image],
    side: int,
    patch: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> torch.Tensor:
    """Squash images to squares (bicubic) and normalise them.

    Args:
        images: B images in mode RGB, of any size.
        side: Side S in pixels, a multiple of the patch.
        patch: Side of a patch in pixels.
        mean: Means of the red, green and blue channel, on a scale of 0 to 1.
        std: Their standard deviations.

    Returns:
        (B, 3, S, S) float32.

    Raises:
        OvssError: The side is not a multiple of the patch.
    """
    if side % patch:
        raise OvssError(
            f"image_size {side} is not a multiple of the {patch}-pixel patch; "
            f"try {max(1, round(side / patch)) * patch}"
        )
    squares = [image.resize((side, side), Image.Resampling.BICUBIC) for image in images]
    array = np.stack([np.asarray(square, dtype=np.float32) for square in squares]) / 255
    array = (array - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def pad_texts(texts: Sequence[Tokens], pad: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Texts as one tensor.

    Args:
        texts: R texts.
        pad: Id of the padding token.

    Returns:
        Ids (R, T), T the longest text's length, and a mask (R, T), False for padding; None where
        no text is padded.
    """
    longest = max(len(text.ids) for text in texts)
    ids = torch.full((len(texts), longest), pad)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = True
    return ids, None if bool(mask.all()) else mask


def check_layer(layer: int, matcher: ImageTextMatcher) -> None:
    """Raise an `OvssError` unless the matcher has this layer (counted from 1)."""
    if not 1 <= layer <= matcher.layers:
        raise OvssError(
            f"layer {layer} does not exist; {matcher.name} has layers 1 to {matcher.layers}"
        )


def load_tokenizer(folder: Path) -> Tokenizer:
    """The text tokenizer of a checkpoint folder, without padding or truncation.

    Args:
        folder: Holds `tokenizer.json` (read directly, which is fast), or a vocabulary (BERT's
            `vocab.txt`, RoBERTa's `vocab.json`, T5's `spiece.model`) from which transformers makes
            one.

    Raises:
        OvssError: The folder holds none of them, or the file cannot be read.
    """
    names = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model")
    if not any((folder / name).is_file() for name in names):
        raise OvssError(f"{folder} holds no tokenizer.json; fetch the checkpoint again")
    try:
        if (folder / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True).backend_tokenizer
        tokenizer.encode("a")  # some damage shows only now
    except Exception as error:  # all that tokenizers raises is Exception itself
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OvssError(
            f"cannot load the tokenizer in {folder}: {reason}; fetch it again"
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def read_processor(folder: Path) -> dict[str, Any]:
    """Mean and standard deviation out of a checkpoint's processor files, as keyword arguments.

    transformers 4 writes `preprocessor_config.json`; version 5 nests the same fields in
    `processor_config.json`.

    Raises:
        OvssError: A file is damaged, or leaves out a step that is always done here.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            try:
                fields = json.loads((folder / name).read_text(encoding="utf-8"))
                fields = fields.get("image_processor", fields)
                if not isinstance(fields, Mapping):
                    raise ValueError("image_processor must be an object")
            except (OSError, ValueError, AttributeError) as error:
                raise OvssError(f"{folder / name} cannot be read; fetch it again") from error
            for step in ("do_rescale", "do_normalize"):
                if not fields.get(step, True):
                    raise OvssError(f"{folder / name}: {step} must be true")
            chosen = {key: fields[key] for key in ("image_mean", "image_std") if key in fields}
            if chosen:
                return chosen
    return {}
