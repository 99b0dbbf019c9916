"""The gradient beside the attention: against hand-made cases, and against the maps of GradCAM."""

from __future__ import annotations

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.gradient import by_certainty, layer_head_gradient, present, separation
from ovsslib.evaluate.localisation import layer_head_auc
from ovsslib.pnp.all_layers import layer_maps, layer_slopes
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm import load_vlm
from support.helpers import tiny_blip  # noqa: F401

DATA = load_dataset("diorama", None, "tune")


@pytest.fixture(scope="module")
def matcher(tiny_blip):  # noqa: F811
    return load_vlm(str(tiny_blip), "cpu")


def test_separation_of_hand_made_maps():
    apart = np.array([[0, 0, 5, 9], [2, 1, 0, 0]])
    patches = np.array([[0, 0, 0, 1], [1, 0, 0, 0]], bool)
    alike, right = separation(np.stack([apart, apart[::-1], np.ones((2, 4))]), patches)
    assert alike[0] == alike[1] == pytest.approx(np.corrcoef(apart)[0, 1])
    # Constant maps correlate with nothing and tie; the first class takes every patch.
    assert alike[2] == 0
    assert right.tolist() == [1, 0, 0.5]


def test_slopes_are_the_second_factor_of_gradcam(matcher):
    config = PnPConfig(salience="gradcam")
    image, names = DATA.image(DATA.ids[0]), ["car", "sky"]
    (prompt,) = prompts_for(matcher, config, names)
    assert [len(span) for span in prompt.spans] == [1, 1], "means over tokens are no products"
    (attention,) = layer_maps(matcher, config.replace(salience="attention"), [image], [names])
    (gradcam,) = layer_maps(matcher, config, [image], [names])
    (slopes,) = layer_slopes(matcher, config, [image], [names])
    assert (slopes < 0).any()
    assert np.allclose(attention * np.maximum(slopes, 0), gradcam, rtol=1e-4, atol=0)
    (margin,) = layer_slopes(matcher, config.replace(score="margin"), [image], [names])
    assert not np.allclose(margin, slopes, rtol=1e-2, atol=0)


def test_a_row_for_every_layer_and_head(matcher):
    table = layer_head_gradient(matcher, DATA, limit=1)
    assert len(table) == matcher.layers * (matcher.heads + 1)
    plain = layer_head_auc(matcher, DATA, limit=1, salience=("attention", "gradcam"))
    for kind in ("attention", "gradcam"):
        rows = plain[plain.salience == kind].reset_index()
        assert (rows["head"] == table["head"]).all()
        assert np.allclose(rows["auc"], table[f"auc_{kind}"])
    assert table.filter(like="positive_").apply(lambda column: column.between(0, 1)).all(axis=None)
    # The last layer's class words reach no score: their gradient is nil.
    last = table[table.layer == matcher.layers]
    assert (last[["inside", "outside", "positive_inside"]] == 0).all(axis=None)
    assert (last.auc_gradient == 0.5).all()
    assert (table.inside != 0).any()
    first, image = table.iloc[0], DATA.image(DATA.ids[0])
    owned = present(DATA, DATA.ids[0], matcher.image_size // matcher.patch_size)
    slopes = layer_slopes(matcher, PnPConfig(salience="gradcam"), [image], [list(owned)])[0][0, 0]
    pairs = [
        [(a > b) + 0.5 * (a == b) for a in slope[patches] for b in slope[~patches]]
        for slope, patches in zip(slopes, owned.values(), strict=True)
    ]
    assert first.auc_gradient == pytest.approx(np.mean([np.mean(each) for each in pairs]))


def test_the_probability_is_the_prompts(matcher):
    config = PnPConfig(layer=1, head=2)
    table = by_certainty(matcher, DATA, config, limit=2)
    assert table.prompt.value_counts().to_dict() == {"true": len(table) // 2} | {
        "false class": len(table) // 2
    }
    assert set(table.image) == set(DATA.ids[:2])
    name = DATA.ids[0]
    owned = present(DATA, name, matcher.image_size // matcher.patch_size)
    rows = table[(table.image == name) & (table.prompt == "true")]
    assert rows["class"].tolist() == list(owned)
    (prompt,) = prompts_for(matcher, config, list(owned))
    tokens = matcher.encode_images(matcher.preprocess([DATA.image(name)]))
    sure = matcher.match(tokens, [prompt.tokens], 1).logits.softmax(1)[0, 1].item()
    assert rows.probability.tolist() == pytest.approx([sure] * len(owned))
    assert (table.attention != table.gradcam).any()
    assert (
        by_certainty(matcher, DATA, config, limit=2, seed=1).probability.ne(table.probability).any()
    )
    with pytest.raises(OvssError, match="seed"):
        by_certainty(matcher, DATA, config, seed=-1)


def test_an_image_that_cannot_be_read_is_left_out(matcher):
    class Torn:
        name, classes, ids = "torn", DATA.classes, ("none", DATA.ids[0])
        image, label = staticmethod(DATA.image), staticmethod(DATA.label)

    config = PnPConfig(layer=1, head=1)
    with pytest.raises(OvssError):
        DATA.image("none")
    whole = layer_head_gradient(matcher, DATA, limit=1)
    assert layer_head_gradient(matcher, Torn()).equals(whole)
    assert set(by_certainty(matcher, Torn(), config).image) == {DATA.ids[0]}


def test_a_data_set_of_one_class(matcher):
    class OnlySky:
        name, classes, ids = "sky alone", ("sky",), DATA.ids[:2]
        image = staticmethod(DATA.image)

        @staticmethod
        def label(name):
            return (DATA.label(name) == DATA.classes.index("sky") + 1).astype(np.uint8)

    table = by_certainty(matcher, OnlySky(), PnPConfig(layer=1, head=1))
    assert set(table.prompt) == {"true"}
    with pytest.raises(OvssError, match="no image of sky alone fills patches of two classes"):
        layer_head_gradient(matcher, OnlySky())
