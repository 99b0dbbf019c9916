"""Files that the authors of trained systems released, read into the networks of this library.

Such a file is one pickle of tensors, `{"model": state}` or the bare state, under the names of the
authors' code and with nothing about sizes: those are read off the tensors. Heads are 64 wide, as in
every ViT of OpenAI's CLIP. A system says how its names translate (`Release`); what the authors'
training kept beside the network is dropped by name, and anything else is refused.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn

from ovsslib.errors import OvssError
from ovsslib.filters.clip import encode_texts, load_open_clip
from ovsslib.vlm.finite import check_weights
from ovsslib.vlm.state import own_state
from ovsslib.vlm.weights import MoreThanTensorsError, fill, read_state, shape_of

if TYPE_CHECKING:
    import open_clip

OPENAI = "ViT-B-16-quickgelu:openai"
"""The CLIP of a file that holds none."""
HEAD_WIDTH = 64
"""Width of an attention head in OpenAI's CLIP."""
VOCABULARY = 49408
"""Entries of OpenAI's tokenizer."""
State = Mapping[str, Tensor]
Colours = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Release:
    """What is known about the files of one system.

    Attributes:
        what: The system, for messages.
        example: Such a file's name.
        convert: A file's tensors to those of this library, and the sizes that the head's class
            takes. Names begin with `clip.` (then as in open_clip; there may be none) or `head.`.
        colours: Mean and standard deviation of red, green and blue, for pixels in 0..1.
    """

    what: str
    example: str
    convert: Callable[[State], tuple[dict[str, Tensor], dict[str, Any]]]
    colours: Colours = (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def renamed(state: State, rules: Mapping[str, str | None], what: str) -> dict[str, Tensor]:
    r"""Tensors in float32 under other names.

    Args:
        state: Name to tensor.
        rules: Pattern of a whole name to the new name, with groups as `\1`; None for what is not
            needed. The first that fits counts.
        what: The system, for messages.

    Raises:
        OvssError: No pattern fits a name, two tensors get the same name, or one holds whole
            numbers.

    Example:
        >>> renamed({"a.0.b": torch.ones(1), "c": torch.ones(2)}, {r"a\.(\d)\.b": r"x.\1"}, "X")
        Traceback (most recent call last):
        ovsslib.errors.OvssError: it holds 1 weights that X lacks (c, ...)
    """
    out: dict[str, Tensor] = {}
    strange = []
    for name, value in sorted(state.items()):
        found = next((rule for rule in rules if re.fullmatch(rule, name)), None)
        if found is None:
            strange.append(name)
            continue
        wanted = rules[found]
        if wanted is None:
            continue
        new = re.sub(f"^{found}$", wanted, name)
        if new in out:
            raise OvssError(f"{name} is one layer more than {what} has")
        if not value.is_floating_point():
            raise OvssError(f"{name} has the type {value.dtype}")
        out[new] = value.float()
    if strange:
        raise OvssError(f"it holds {len(strange)} weights that {what} lacks ({strange[0]}, ...)")
    return out


def part(weights: State, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, under the rest of their names."""
    return {key.removeprefix(prefix): weights[key] for key in weights if key.startswith(prefix)}


def count(weights: State, prefix: str) -> int:
    """How many numbers follow a prefix in names.

    Example:
        >>> count({"a.0.w": torch.ones(1), "a.0.b": torch.ones(1), "a.3.w": torch.ones(1)}, "a.")
        2
    """
    return len({key.split(".", 1)[0] for key in part(weights, prefix)})


def refusal(path: Path, release: Release, error: OvssError) -> OvssError:
    """The error for a file that cannot be used, and what to do about it."""
    advice = f"give {release.example}, as its authors released it"
    if isinstance(error, MoreThanTensorsError):
        advice = (
            "where you trust it, save its tensors alone and give that file: "
            "torch.save(torch.load(FILE, weights_only=False)['model'], NEW)"
        )
    return OvssError(f"{path} is no checkpoint of {release.what}: {error}; {advice}")


def openai_clip(weights: State) -> open_clip.CLIP:
    """A CLIP of open_clip, built as OpenAI's ViTs, of the size of its tensors.

    open_clip's own builder would round them to float16, and checks nothing before it builds.

    Args:
        weights: Under open_clip's names, float32.

    Raises:
        OvssError: One is missing, left over, or of an impossible shape; or the vocabulary is not
            OpenAI's.
    """
    import open_clip

    width, _, _, patch = shape_of(weights, "visual.conv1.weight", 4)
    places = shape_of(weights, "visual.positional_embedding", 2)[0]
    words, text_width = shape_of(weights, "token_embedding.weight", 2)
    side = math.isqrt(places - 1)
    if side < 1 or side**2 != places - 1:
        raise OvssError(f"visual.positional_embedding has {places - 1} patches, which is no square")
    if width % HEAD_WIDTH or text_width % HEAD_WIDTH:
        raise OvssError(f"{HEAD_WIDTH}-wide heads do not divide the widths {width}, {text_width}")
    if words != VOCABULARY:
        raise OvssError(f"its vocabulary has {words} entries where CLIP's has {VOCABULARY}")
    with torch.device("meta"):
        model = open_clip.CLIP(
            embed_dim=shape_of(weights, "text_projection", 2)[1],
            vision_cfg=open_clip.CLIPVisionCfg(
                image_size=side * patch,
                patch_size=patch,
                width=width,
                head_width=HEAD_WIDTH,
                layers=count(weights, "visual.transformer.resblocks."),
            ),
            text_cfg=open_clip.CLIPTextCfg(
                context_length=shape_of(weights, "positional_embedding", 2)[0],
                vocab_size=words,
                width=text_width,
                heads=text_width // HEAD_WIDTH,
                layers=count(weights, "transformer.resblocks."),
            ),
            quick_gelu=True,
        )
    fill(model, weights, "its CLIP", where="it")
    # The only tensor that no file holds: a text's token sees those before it.
    length = model.context_length
    model.attn_mask = torch.full((length, length), -math.inf).triu(1)
    return model.eval()


def _encoder(model: open_clip.CLIP) -> Callable[[Sequence[str]], Tensor]:
    """What encodes N texts with a CLIP of `openai_clip` to unit features (N, E)."""
    import open_clip

    tokenize = open_clip.SimpleTokenizer(context_length=model.context_length)

    def encode(texts: Sequence[str]) -> Tensor:
        tokens = tokenize(list(texts)).to(model.logit_scale.device)
        found: Tensor = model.encode_text(tokens, normalize=True)
        return found

    return encode


@own_state()
def open_released(
    path: Path,
    release: Release,
    head_class: Callable[..., nn.Module],
    device: torch.device,
    *,
    download: bool = False,
) -> tuple[Any, Callable[[Sequence[str]], Tensor], nn.Module]:
    """A CLIP, what encodes texts with it, and the head, with a file's weights.

    Args:
        path: The file.
        release: How to read it.
        head_class: Made of the CLIP and of sizes.
        device: Where they go.
        download: Whether the network may be used for `OPENAI`, if the file holds no CLIP.

    Raises:
        OvssError: The file is damaged or of another system, its weights are not all there or not
            finite; or it holds no CLIP and `OPENAI` is not on this machine.
    """
    import open_clip

    try:
        weights, sizes = release.convert(read_state(path))
        stored = part(weights, "clip.")
        model: Any = openai_clip(stored) if stored else None
    except OvssError as error:
        raise refusal(path, release, error) from error
    if model is None:
        try:
            model, _ = load_open_clip(OPENAI, str(device), download=download)
        except OvssError as error:
            raise OvssError(f"{path} holds no CLIP, and {error}") from error
        encode: Any = functools.partial(encode_texts, model, OPENAI, download=download)
    else:
        encode = _encoder(model)
    mean, std = release.colours
    open_clip.set_model_preprocess_cfg(model, {"mean": mean, "std": std})
    try:
        head = head_class(model, **sizes).float()
        fill(head, part(weights, "head."), release.what, where="it")
    except OvssError as error:
        raise refusal(path, release, error) from error
    for each in (model, head):
        check_weights(each, str(path))
    return model.to(device), encode, head
