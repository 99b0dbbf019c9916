"""Steps 2 to 4 against plain PyTorch: transformers' network, the whole graph, every round by hand.

BridgeTower and BLIP-2 have no released code to be compared with; this is what stands in for it. The
library runs images and prompts of several lengths in one batch, the reference one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.prompt import Prompt, build_prompts
from ovsslib.vlm.blip.matcher import BlipMatcher
from ovsslib.vlm.blip2 import Blip2Matcher
from ovsslib.vlm.bridgetower import BridgeTowerMatcher
from support import tiny_blip2, tiny_bridgetower
from support.helpers import make_tiny_blip
from support.whole_graph import blip2_graph, bridgetower_graph

NAMES = [["dog"], ["hot dog", "sky", "grass"], ["hot air balloon", "traffic light"]]
PATCH = 8
# Ids and pixels to logits, attention (1, A, T, 1+P) and its gradient.
Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def blip(folder: Path, layer: int) -> tuple[BlipMatcher, Look]:
    from transformers import BertTokenizer, BlipForImageTextRetrieval

    make_tiny_blip(folder, image_size=32, patch=PATCH)
    theirs = BlipForImageTextRetrieval.from_pretrained(folder).eval().double()
    with torch.no_grad():  # fresh weights are so small that attention would be all but uniform
        for weight in theirs.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, dtype=weight.dtype))
    tokenizer = BertTokenizer.from_pretrained(folder)
    enc = tokenizer.convert_tokens_to_ids("[ENC]")

    def look(ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept: list[Tensor] = []

        def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
            outputs[1].retain_grad()
            kept.append(outputs[1])

        cross = theirs.text_encoder.encoder.layer[layer - 1].crossattention.self
        handle = cross.register_forward_hook(keep)
        ids = torch.cat([torch.tensor([[enc]]), ids[:, 1:]], dim=1)
        seen = theirs.vision_model(pixel_values=pixels, interpolate_pos_encoding=True)
        read = theirs.text_encoder(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            encoder_hidden_states=seen.last_hidden_state,
            encoder_attention_mask=torch.ones(seen.last_hidden_state.shape[:2]),
        )
        logits = theirs.itm_head(read.last_hidden_state[:, 0])
        handle.remove()
        logits[:, 1].sum().backward()
        assert kept[0].grad is not None
        return logits.detach(), kept[0].detach(), kept[0].grad

    return BlipMatcher(theirs, tokenizer.backend_tokenizer), look


def bridgetower(_folder: Path, layer: int) -> tuple[BridgeTowerMatcher, Look]:
    tokenizer = tiny_bridgetower.make_tokenizer(tiny_bridgetower.WORDS.split())
    theirs = tiny_bridgetower.make_model(len(tokenizer)).double()

    def look(ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
        return bridgetower_graph(theirs, layer, **inputs)

    return BridgeTowerMatcher(copy.deepcopy(theirs), tokenizer.backend_tokenizer), look


def blip2(_folder: Path, layer: int) -> tuple[Blip2Matcher, Look]:
    theirs = tiny_blip2.make_model().double()
    mine = Blip2Matcher(copy.deepcopy(theirs), tiny_blip2.make_tokenizer().backend_tokenizer)
    encode = theirs.vision_model
    encode.forward = partial(encode.forward, interpolate_pos_encoding=True)

    def look(ids: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}
        return blip2_graph(theirs, 2 * (layer - 1), **inputs)

    return mine, look


def by_hand(
    look: Look,
    pixels: Tensor,
    prompt: Prompt,
    config: PnPConfig,
    black: Tensor,
    *,
    end: bool = False,
) -> tuple[np.ndarray, list[list[int]], list[np.ndarray]]:
    """Sum of maps (K, P), patches dropped before each round, each round's maps; one image.

    With ``end`` the last token, which closes the text, has a say in what is dropped.
    """
    ids = torch.tensor([prompt.tokens.ids])
    grid = pixels.shape[-1] // PATCH
    words = [position for span in prompt.spans for position in span]
    words += [len(prompt.tokens.ids) - 1] * end
    gone: list[int] = []
    before, rounds = [], []
    for _ in range(config.rounds):
        seen = pixels.clone()
        for patch in gone:
            y, x = PATCH * (patch // grid), PATCH * (patch % grid)
            seen[:, :, y : y + PATCH, x : x + PATCH] = black[:, None, None]
        _, attention, gradient = look(ids, seen)
        salience = torch.clamp(attention * torch.clamp(gradient, min=0), min=0)[0, :, :, 1:]
        salience = salience.mean(0) if config.head is None else salience[config.head - 1]
        maps = torch.stack([salience[list(span)].mean(0) for span in prompt.spans])
        maps[:, gone] = 0
        before.append(sorted(gone))
        rounds.append(maps.numpy())
        strength = salience[words].sum(0)
        left = [p for p in range(grid**2) if p not in gone and strength[p] > 0]
        gone += sorted(left, key=lambda p: -float(strength[p]))[: config.patches_per_round]
    return np.sum(rounds, axis=0), before, rounds


@pytest.mark.parametrize("head", [3, None])
@pytest.mark.parametrize(
    ("make", "layer"), [(blip, 1), (bridgetower, 1), (bridgetower, 2), (blip2, 1), (blip2, 2)]
)
def test_every_round(
    make: Callable[[Path, int], tuple[Any, Look]], layer: int, head: int | None, tmp_path: Path
) -> None:
    matcher, look = make(tmp_path, layer)
    pixels = torch.randn(3, 3, 48, 48, dtype=torch.float64)
    matcher.preprocess = lambda images, size=None: pixels
    config = PnPConfig(layer=layer, head=head, rounds=4, patches_per_round=5)
    photos = [Image.new("RGB", (48, 48))] * 3
    found = PnPOVSS(matcher, config).maps(photos, NAMES, stages=True)
    black = -torch.tensor(matcher.image_mean) / torch.tensor(matcher.image_std)
    lengths = set()
    for index, names in enumerate(NAMES):
        (prompt,) = build_prompts(names, matcher.tokenize)
        lengths.add(len(prompt.tokens.ids))
        wanted, gone, rounds = by_hand(look, pixels[index : index + 1], prompt, config, black)
        stages = found[index].stages
        assert stages is not None
        # The colour of black is kept in single precision.
        scale = wanted.max()
        assert [np.flatnonzero(mask).tolist() for mask in stages["dropped"]] == gone
        assert np.abs(found[index].maps.reshape(wanted.shape) - wanted).max() < 1e-5 * scale
        for mine, theirs in zip(stages["rounds"], rounds, strict=True):
            assert np.abs(mine.reshape(theirs.shape) - theirs).max() < 1e-5 * scale
        # Not equal because nothing happens.
        assert [len(patches) for patches in gone][:2] == [0, 5]
        assert len(gone[3]) > 5
        assert np.abs(rounds[1] - np.where(rounds[1] == 0, 0, rounds[0])).max() > 1e-3 * scale
    assert len(lengths) > 1


def test_the_end_of_shorter_texts_as_released(tmp_path: Path) -> None:
    """`drop_sep`: what is dropped depends on the longest text of the batch, alone of all."""
    matcher, look = blip(tmp_path, 1)
    pixels = torch.randn(3, 3, 48, 48, dtype=torch.float64)
    matcher.preprocess = lambda images, size=None: pixels[: len(images)]  # type: ignore[assignment]
    config = PnPConfig(layer=1, head=None, rounds=4, patches_per_round=2, drop_sep=True)
    photos = [Image.new("RGB", (48, 48))] * 3
    found = PnPOVSS(matcher, config).maps(photos, NAMES, stages=True)
    prompts = [build_prompts(names, matcher.tokenize)[0] for names in NAMES]
    lengths = [len(prompt.tokens.ids) for prompt in prompts]
    black = -torch.tensor(matcher.image_mean) / torch.tensor(matcher.image_std)
    changed = []
    for index, prompt in enumerate(prompts):
        one = pixels[index : index + 1]
        shorter = lengths[index] < max(lengths)
        wanted, gone, _ = by_hand(look, one, prompt, config, black, end=shorter)
        stages = found[index].stages
        assert stages is not None
        assert [np.flatnonzero(mask).tolist() for mask in stages["dropped"]] == gone
        assert np.abs(found[index].maps.reshape(wanted.shape) - wanted).max() < 1e-5 * wanted.max()
        changed.append(by_hand(look, one, prompt, config, black)[1] != gone)
    assert any(changed)
    # In a batch of its own no text is shorter than another.
    (alone,) = PnPOVSS(matcher, config).maps(photos[:1], NAMES[:1])
    wanted = by_hand(look, pixels[:1], prompts[0], config, black)[0]
    assert np.abs(alone.maps.reshape(wanted.shape) - wanted).max() < 1e-5 * wanted.max()
