"""BLIP checkpoints as LAVIS and the original BLIP write them: one pickle of tensors.

Such a file (``model_large_retrieval_flickr.pth``) holds ``{"model": state}`` with the parameter
names of LAVIS, and nothing about the network's size: that is read off the tensors. What they do
not show is fixed: attention heads are 64 wide, as in every ViT and BERT that BLIP was built from
(ViT-B 12, ViT-L 16, BERT base 12 heads); layer norms add 1e-6 in the image encoder and 1e-12 in
the text encoder; text is split by BERT's uncased WordPiece with ``[DEC]`` and ``[ENC]`` appended.

Source: salesforce-lavis 1.0.2, ``blip_image_text_matching`` and ``blip_retrieval``.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ovsslib.errors import OvssError
from ovsslib.fetch import hub_cache, hub_snapshot
from ovsslib.vlm.blip import BlipMatcher, load_tokenizer
from ovsslib.vlm.blip_net import BlipNet
from ovsslib.vlm.blip_shape import BlipShape, EncoderShape
from ovsslib.vlm.lavis_names import VISION_LAYER_NORM_EPS, rename_state
from ovsslib.vlm.weights import fill

HEAD_WIDTH = 64
"""Width of an attention head in all of BLIP's encoders."""
TEXT_LAYER_NORM_EPS = 1e-12

IGNORED: dict[str, str] = {
    r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\.": "momentum copies, for training",
    r"((image|text|idx)_queue|queue_ptr|ptr_queue)$": "queues of the contrastive loss",
    r"temp$": "temperature of the contrastive loss",
    r"text_decoder\.": "caption decoder of the pre-training",
    r"text_encoder\.embeddings\.position_ids$": "0, 1, 2, ...",
}
"""Pattern of the names of weights that matching does not need -> what they are."""
# The contrastive heads are not needed either, but transformers' format keeps them, and so do we.
_NEEDED = re.compile(r"(visual_encoder|text_encoder|vision_proj|text_proj|itm_head)\.")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")
# Repositories with BERT's uncased vocabulary, in the order in which they are looked for.
_TOKENIZER_REPOS = ("bert-base-uncased", "google-bert/bert-base-uncased")
_ADVICE = "give a BLIP image-text matching or retrieval checkpoint, whole, such as "
_ADVICE += "model_large_retrieval_flickr.pth"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint file on the CPU, under LAVIS's names, as stored.

    The file is mapped rather than read where it allows that, so tensors that nobody uses (half of
    a retrieval checkpoint) cost neither time nor memory. Only tensors are unpickled: no code runs.

    Args:
        path: A file that ``torch.save`` wrote: ``{"model": state, ...}`` or the bare state.

    Raises:
        OvssError: It is no such file.
    """
    try:
        # torch's format before version 1.6 is no zip archive and cannot be mapped.
        loaded = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # damaged pickles raise whatever they happen to hit
        raise _wrong(path, _reason(error)) from error
    state = loaded.get("model", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state:
        raise _wrong(path, f"it holds a {type(state).__name__}, not named tensors")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise _wrong(path, f"{name!r} is a {type(value).__name__}, not a named tensor")
    return dict(state)


def _wrong(path: Path, reason: str) -> OvssError:
    return OvssError(f"{path} is no BLIP checkpoint in LAVIS's format: {reason}; {_ADVICE}")


def _reason(error: Exception) -> str:
    """What is wrong with a file; torch's own words propose to run the code in it."""
    words = str(error).strip()
    code = re.search(r"GLOBAL ([\w.]+)", words)
    if code:
        return f"it holds more than tensors ({code[1]}), and code in a file is never run"
    if isinstance(error, pickle.UnpicklingError):
        return "it is no file of tensors"
    return (words or type(error).__name__).splitlines()[0]


def sort_names(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Which weights of a checkpoint are used, and which are knowingly ignored.

    Args:
        names: LAVIS's parameter names.

    Returns:
        Those used and those that match a pattern of `IGNORED`, both sorted.

    Raises:
        OvssError: Others are there, or there is no match head: this is another kind of model.

    >>> sort_names(["itm_head.bias", "temp", "visual_encoder_m.cls_token"])
    (['itm_head.bias'], ['temp', 'visual_encoder_m.cls_token'])
    """
    needed, ignored, strange = [], [], []
    for name in sorted(names):
        if any(re.match(pattern, name) for pattern in IGNORED):
            ignored.append(name)
        elif _NEEDED.match(name):
            needed.append(name)
        else:
            strange.append(name)
    if strange:
        raise OvssError(
            f"it holds {len(strange)} weights that BLIP's matching model and training lack "
            f"({strange[0]}, ...)"
        )
    if not any(name.startswith("itm_head.") for name in needed):
        raise OvssError("it has no match head (itm_head): it was trained for another task")
    return needed, ignored


def shape_of(weights: Mapping[str, Tensor]) -> BlipShape:
    """The network's size, read off its tensors.

    The side of the training pictures is that of the grid of position embeddings times the patch.

    Args:
        weights: Under LAVIS's names.

    Returns:
        The size; ``pad`` is 0, where BERT's vocabulary has ``[PAD]``.

    Raises:
        OvssError: A tensor is missing or has an impossible shape.

    >>> shape_of({})
    Traceback (most recent call last):
    ovsslib.errors.OvssError: visual_encoder.patch_embed.proj.weight is missing
    """
    kernel = _sizes(weights, "visual_encoder.patch_embed.proj.weight", 4)
    cells = _sizes(weights, "visual_encoder.pos_embed", 3)[1] - 1
    side = math.isqrt(max(cells, 0))
    if side < 1 or side**2 != cells:
        raise OvssError(f"visual_encoder.pos_embed has {cells} patches, which make no square")
    words = _sizes(weights, "text_encoder.embeddings.word_embeddings.weight", 2)
    places = _sizes(weights, "text_encoder.embeddings.position_embeddings.weight", 2)
    return BlipShape(
        image=_encoder(weights, "visual_encoder.blocks", "mlp.fc1", VISION_LAYER_NORM_EPS),
        text=_encoder(
            weights, "text_encoder.encoder.layer", "intermediate.dense", TEXT_LAYER_NORM_EPS
        ),
        image_size=side * kernel[-1],
        patch=kernel[-1],
        vocabulary=words[0],
        positions=places[0],
        pad=0,
        shared=_sizes(weights, "text_proj.weight", 2)[0],
    )


def _encoder(weights: Mapping[str, Tensor], layers: str, mlp: str, eps: float) -> EncoderShape:
    inner, width = _sizes(weights, f"{layers}.0.{mlp}.weight", 2)
    if width % HEAD_WIDTH:
        raise OvssError(
            f"{layers} is {width} wide, which {HEAD_WIDTH}-wide heads do not divide; a network of "
            "another make has to be given as a folder with a config.json"
        )
    numbers = re.compile(rf"{re.escape(layers)}\.(\d+)\.")
    count = 1 + max(int(found[1]) for found in map(numbers.match, weights) if found)
    return EncoderShape(width, inner, count, width // HEAD_WIDTH, eps)


def _sizes(weights: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    if name not in weights:
        raise OvssError(f"{name} is missing")
    sizes = tuple(weights[name].shape)
    if len(sizes) != dimensions or 0 in sizes:
        raise OvssError(f"{name} has the shape {sizes}")
    return sizes


def read_vocabulary(path: Path) -> Tokenizer:
    """BERT's uncased tokenizer out of its ``vocab.txt``, without padding or truncation.

    Args:
        path: One token a line, in the order of the ids; ``[DEC]`` and ``[ENC]`` may be missing.

    Raises:
        OvssError: The file cannot be read, or lacks BERT's special tokens.
    """
    from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

    try:
        words = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, ValueError) as error:
        raise OvssError(f"{path}: the vocabulary cannot be read; fetch it again") from error
    ids = {word.rstrip("\r"): number for number, word in enumerate(words)}
    lacking = [word for word in _SPECIAL[:4] if word not in ids]
    if lacking:
        raise OvssError(f"{path} lacks {lacking[0]}; give the vocab.txt of bert-base-uncased")
    tokenizer: Any = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(word, ids[word]) for word in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    special = [AddedToken(word, special=True) for word in _SPECIAL if word in ids]
    tokenizer.add_special_tokens(special)
    return tokenizer


def find_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """The text tokenizer for a checkpoint file, which holds none itself.

    Looked for in this order: ``tokenizer.json`` or ``vocab.txt`` beside the file; then, in the
    hub's local cache, ``bert-base-uncased`` (LAVIS takes it) and ``Salesforce/blip-itm-*``.

    Args:
        path: The checkpoint.
        vocabulary: Number of its token embeddings; the tokenizer has as many entries, or two less
            (without ``[DEC]`` and ``[ENC]``, BLIP's own).

    Raises:
        OvssError: There is none, or the one beside the file is of another size.
    """
    own = sorted(hub_cache().glob("models--Salesforce--blip-itm-*"))
    repos = [*_TOKENIZER_REPOS, *(f.name.removeprefix("models--").replace("--", "/") for f in own)]
    for folder in (path.parent, *filter(None, map(hub_snapshot, repos))):
        if (folder / "tokenizer.json").is_file():
            tokenizer = load_tokenizer(folder)
        elif (folder / "vocab.txt").is_file():
            tokenizer = read_vocabulary(folder / "vocab.txt")
        else:
            continue
        entries = tokenizer.get_vocab_size()
        if vocabulary - entries in (0, 2):
            return tokenizer
        if folder == path.parent:
            raise OvssError(
                f"the tokenizer beside {path} has {entries} entries for {vocabulary} embeddings; "
                "put the one it was trained with there"
            )
    command = "hf download google-bert/bert-base-uncased tokenizer.json"
    raise OvssError(
        f"no tokenizer for {path} on this machine: fetch BERT's with `{command}`, or put a "
        "tokenizer.json or vocab.txt beside the file"
    )


def load_lavis(path: Path, name: str, dtype: torch.dtype, device: torch.device) -> BlipMatcher:
    """Load a checkpoint file of LAVIS or of the original BLIP.

    Args:
        path: See `read_checkpoint`.
        name: What to call it in results.
        dtype: Type of the weights.
        device: Where they go.

    Returns:
        The matcher, frozen; the same that the converted weights give.

    Raises:
        OvssError: The file is not such a checkpoint, holds weights that nothing here knows, or
            lacks some; or no tokenizer is found (see `find_tokenizer`).
    """
    weights = read_checkpoint(path)
    try:
        needed = {key: weights[key] for key in sort_names(weights)[0]}
        shape = shape_of(needed)
        for key, value in needed.items():
            if not value.is_floating_point():
                raise OvssError(f"{key} has the type {value.dtype}")
        with torch.device("meta"):
            net = BlipNet(shape)
        fill(net, rename_state(needed), "BLIP", where="it")
    except OvssError as error:
        raise _wrong(path, str(error)) from error
    tokenizer = find_tokenizer(path, shape.vocabulary)
    net.shape = replace(shape, pad=tokenizer.token_to_id("[PAD]") or 0)
    return BlipMatcher(net.to(device, dtype), tokenizer, name=name)
