"""One attention of a transformers model, read and, where a graph begins, replaced.

transformers lets a program register its own attention function. This one is fused, like PyTorch's,
except in the modules named by `edited`: there the probabilities are computed step by step and
handed to a function, which may keep them and give back others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from ovsslib.errors import OvssError
from ovsslib.vlm.blip.net import attend
from ovsslib.vlm.inputs import load_tokenizer, read_processor
from ovsslib.vlm.matcher import Matcher
from ovsslib.vlm.weights import check_size, read_weights

M = TypeVar("M", bound=Matcher)

NAME = "ovsslib"
_EDIT = "_edit_probabilities"


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention as transformers calls it, never causal and without dropout.

    Args:
        module: The attention module.
        query: (R, A, N, D/A).
        key: (R, A, M, D/A).
        value: The same shape.
        attention_mask: (R, 1, 1, M) bool, False where nothing is seen; None where all is.
        scaling: 1 / sqrt(D/A).

    Returns:
        (R, N, A, D/A), and the probabilities (R, A, N, M) where they are edited.
    """
    edit = getattr(module, _EDIT, None)
    if edit is None:
        return attend(query, key, value, attention_mask).transpose(1, 2).contiguous(), None
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    probabilities = edit(scores.softmax(dim=-1))
    return (probabilities @ value).transpose(1, 2).contiguous(), probabilities


# With the module, because a pickled model needs it in the process that reads it.
AttentionInterface.register(NAME, attention)


def install(model: Any) -> Any:
    """Have a transformers model use `attention` in all its parts; changed in place."""
    for part in model.modules():
        if hasattr(part, "config"):
            part.config._attn_implementation = NAME
    return model


@contextlib.contextmanager
def edited(module: nn.Module, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the module's probabilities (R, A, N, M) pass through a function.

    Args:
        module: An attention module of a model that `install` has seen.
        edit: Given the probabilities; what it returns is used instead.
    """
    setattr(module, _EDIT, edit)
    try:
        yield
    finally:
        delattr(module, _EDIT)


def load(
    kind: type[M],
    cls: str,
    folder: Path,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    *,
    unread: tuple[str, ...],
) -> M:
    """A matcher of a model of transformers, out of a checkpoint folder.

    Args:
        kind: Class of the matcher.
        cls: Name of transformers' class.
        folder: Holds `config.json`, the weights, the tokenizer and the processor's settings.
        name: What to call the model in results.
        dtype: Type of the weights.
        device: Where to put them.
        unread: Beginnings of the names of weights that the matcher does not read: these may be
            missing, or belong to parts that the class does not have.

    Raises:
        OvssError: Weights or the tokenizer are missing or unreadable, or belong to another
            architecture, or the configuration is impossible. What transformers raises is let
            through (`ovsslib.vlm.load_vlm` turns it into this).
    """
    import transformers

    model_class, stored = getattr(transformers, cls), read_weights(folder)
    with _quiet():
        config = model_class.config_class.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            wanted = sum(weight.numel() for weight in model_class(config).parameters())
        check_size(wanted, stored, folder)
        model, info = model_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # told below, by name
            output_loading_info=True,
        )
    for keys, what in (
        ("mismatched_keys", "holds {} weights whose shape is not that of {}'s"),
        ("missing_keys", "lacks {} weights that {} needs"),
        ("unexpected_keys", "holds {} weights that {} lacks"),
    ):
        names = [key if isinstance(key, str) else key[0] for key in info[keys]]
        names = sorted(name for name in names if not name.startswith(unread))
        if names:
            raise OvssError(f"{folder} {what.format(len(names), cls)} ({names[0]}, ...)")
    tokenizer = load_tokenizer(folder)
    return kind(model.to(device), tokenizer, name=name, **read_processor(folder))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars and reports off the terminal; what they say comes as an error."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
