"""AUC of layers and heads: exact on hand-made cases, and a planted head is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.localisation import auc, layer_head_auc, patch_share
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm import load_vlm
from support.helpers import tiny_blip, write_voc  # noqa: F401


def test_auc_is_scikit_learns():
    rng = np.random.default_rng(0)
    for _ in range(30):
        truth = rng.random(40) < 0.3
        scores = rng.integers(0, 6, 40) / 5  # many ties
        if truth.any() and not truth.all():
            assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    assert np.isnan(auc(np.ones(3), np.ones(3, bool)))


def test_patch_shares_of_uneven_sizes_sum_to_the_label():
    label = np.random.default_rng(0).integers(0, 3, (37, 50))
    side = 6
    total = sum(patch_share(label, k, side) for k in range(3))
    assert np.allclose(total, 1)
    whole = patch_share(np.ones((37, 50), int), 1, side)
    assert np.array_equal(whole, np.ones(36))
    half = patch_share(np.repeat([[1, 0]], 4, 0).repeat(3, 1), 1, 2)
    assert half.tolist() == [1, 0, 1, 0]


def test_a_planted_attention_gets_its_own_figure(tiny_blip):  # noqa: F811
    """Head 2 made to follow the first class's mask is scored as that map is, by hand."""
    matcher = load_vlm(str(tiny_blip))
    data = load_dataset("diorama", None, "tune")
    found = layer_head_auc(matcher, data, limit=3, salience=("attention", "gradcam", "margin"))
    assert len(found) == 3 * matcher.layers * (matcher.heads + 1)
    assert found.auc.between(0, 1).all()

    class Planted:
        def __getattr__(self, name):
            return getattr(matcher, name)

        def match_layers(self, tokens, texts, *, gradient=False):
            real = matcher.match_layers(tokens, texts, gradient=gradient)
            label = data.label(data.ids[0])
            # The first name of the prompt gets the mask of the first class, in head 2.
            first = next(int(k) for k in np.unique(label) if 0 < k <= 20)
            side = round((tokens.shape[1] - 1) ** 0.5)
            share = torch.tensor(patch_share(label, first, side) >= 0.5).float()
            attention = torch.zeros_like(real.attention[0])
            attention[0, 1, :, 1:] = share
            return type(real)(real.logits, (attention, *real.attention[1:]))

    one = layer_head_auc(Planted(), data, limit=1)
    label = data.label(data.ids[0])
    classes = [int(k) for k in np.unique(label) if 0 < k <= 20]
    shares = [patch_share(label, k, 12) >= 0.5 for k in classes]
    by_hand = np.nanmean([auc(shares[0].astype(float), truth) for truth in shares])
    planted = one[(one["head"] == 2) & (one.layer == 1)].auc.item()
    assert planted == pytest.approx(by_hand)
    assert one[(one["head"] == 1) & (one.layer == 1)].auc.item() == 0.5


def test_unknown_salience_is_refused(tiny_blip):  # noqa: F811
    data = load_dataset("diorama", None, "tune")
    with pytest.raises(OvssError, match="unknown kind of salience 'grad'"):
        layer_head_auc(load_vlm(str(tiny_blip)), data, limit=1, salience=("grad",))


def test_names_that_need_two_prompts(tiny_blip, tmp_path):  # noqa: F811
    """A text encoder with few positions is asked twice; each name still gets its own map."""
    matcher = load_vlm(str(tiny_blip))
    data = load_dataset("voc20", write_voc(tmp_path, 2))
    whole = layer_head_auc(matcher, data)
    pair = [data.classes[k - 1] for k in np.unique(data.label(data.ids[0])) if 0 < k <= 20]
    matcher.max_tokens = len(matcher.tokenize(f"A picture of {' '.join(pair)}").ids) - 1
    assert len(prompts_for(matcher, PnPConfig(), pair)) == len(pair) == 2
    split = layer_head_auc(matcher, data)
    assert len(split) == len(whole)
    assert split.auc.between(0, 1).all()
