"""LAVIS's own network, run by ovsslib, against what the released code computed with it.

The golden network is ill-conditioned: in float32 its logits differ from processor to processor by
about 1e-3 (tests/test_golden.py measures how far rounding carries). So the figures are approached
in float64, not met.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovsslib.pnp.prompt import build_prompts
from ovsslib.pnp.salience import attention_gradient, class_maps, gradcam_map
from ovsslib.vlm.lavis.backend import LavisMatcher
from support.lavis_models import CASE, EXPECTED, golden_pair


@pytest.fixture(scope="module")
def theirs() -> LavisMatcher:
    return golden_pair()[0]


def test_token_ids(theirs: LavisMatcher) -> None:
    assert [list(theirs.tokenize(text).ids) for text in CASE["captions"]] == CASE["input_ids"]
    assert theirs.model.tokenizer.enc_token_id == CASE["enc_token_id"]


def test_logits_and_first_maps(theirs: LavisMatcher) -> None:
    prompts = [build_prompts(names, theirs.tokenize)[0] for names in CASE["cases"]]
    tokens = theirs.encode_images(EXPECTED["pixel_values"].double())
    texts = [prompt.tokens for prompt in prompts]
    match = theirs.match(tokens, texts, CASE["layer_1based"], gradient=True)
    assert (match.logits.detach() - EXPECTED["itm_logits"]).abs().max() < 5e-3
    found = gradcam_map(match.attention, attention_gradient(match), CASE["head_0based"] + 1)
    for number, (rows, prompt) in enumerate(zip(found, prompts, strict=True)):
        expected = EXPECTED[f"round0_maps_{number}"].flatten(1).numpy()
        maps = class_maps(rows.detach(), prompt.spans, True).numpy()
        assert np.abs(maps - expected).max() < 0.05 * expected.max()
        assert np.corrcoef(maps.ravel(), expected.ravel())[0, 1] > 0.999


def test_float32_is_as_near() -> None:
    theirs = golden_pair(torch.float32)[0]
    tokens = theirs.encode_images(EXPECTED["pixel_values"])
    logits = theirs.match(tokens, [theirs.tokenize(text) for text in CASE["captions"]], 1).logits
    assert (logits - EXPECTED["itm_logits"]).abs().max() < 1e-2
