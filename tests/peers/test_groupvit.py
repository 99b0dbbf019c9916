"""GroupViT against transformers' own read-out and against its rule, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.groupvit import GroupTower, GroupVit, GroupVitConfig, group_scores
from ovsslib.pnp.resample import upsample
from support.tiny_hub import NAMES, make_groupvit, some_images


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> GroupTower:
    return GroupTower(str(make_groupvit(tmp_path_factory.mktemp("groupvit"))), "cpu")


def raw(tower: GroupTower, names: list[str]) -> tuple[torch.Tensor, object]:
    """Pixels of an image, and what transformers' own forward pass gives for it and the names."""
    pixels = tower.prepare(some_images()[:1])
    rows = tower.tokens([f"a photo of a {name}." for name in names])
    with torch.no_grad():
        return pixels, tower.model(pixel_values=pixels, output_segmentation=True, **rows)


def expected(tower: GroupTower, names: list[str], top: int | None, *, soft: bool) -> np.ndarray:
    """Planes (K, 48, 48) from the outputs of transformers, by loops over groups, names, pixels."""
    _, out = raw(tower, names)
    model, first, second = tower.model, *out.vision_model_output.attentions
    scale = model.logit_scale.exp().item()
    tokens = out.vision_model_output.last_hidden_state[0]
    kept = range(len(names))
    if top is not None:
        kept = sorted(kept, key=lambda k: -out.logits_per_image[0, k].item())[:top]
    scores = []
    for token in tokens:
        with torch.no_grad():
            group = model.visual_projection(token[None])[0]
        logits = [scale * torch.cosine_similarity(group, t, dim=0).item() for t in out.text_embeds]
        power = np.exp(logits)
        both = power / power.sum()
        if top is not None:
            both = [
                both[k] * (power[k] / power[list(kept)].sum() if k in kept else 0)
                for k in range(len(names))
            ]
        scores.append(both)
    share = (first[0].T @ second[0].T).T.reshape(1, len(tokens), 6, 6)
    share = interpolate(share, (48, 48), mode="bilinear")[0].numpy()
    planes = np.zeros((len(names), 48, 48), np.float32)
    for y in range(48):
        for x in range(48):
            own = share[:, y, x]
            weights = own if soft else np.eye(len(tokens))[own.argmax()]
            planes[:, y, x] = weights @ np.array(scores)
    return planes


@pytest.mark.parametrize(("top", "soft"), [(2, False), (2, True), (None, False), (5, False)])
def test_planes_are_the_rule_s(tower: GroupTower, top: int | None, soft: bool) -> None:
    config = GroupVitConfig(top=top, soft=soft)
    found = GroupVit(tower, config).segment(some_images()[0], NAMES)
    small = expected(tower, NAMES, top, soft=soft)
    assert np.allclose(found.planes, upsample(small, found.labels.shape), atol=1e-5)
    assert (found.labels == found.planes.argmax(0)).all()
    assert small.max() <= 1


def test_transformers_own_scores_have_the_scale_twice(tower: GroupTower) -> None:
    pixels, out = raw(tower, NAMES)
    groups, whole, share = tower.groups(pixels)
    texts = tower.texts(NAMES, GroupVit(tower).sentences())
    big = interpolate(share, (48, 48), mode="bilinear")
    cosines = torch.einsum("kg,ghw->khw", texts @ groups[0].mT, big[0])
    square = tower.model.logit_scale.exp() ** 2
    assert torch.allclose(out.segmentation_logits[0] / square, cosines, atol=1e-5)
    assert torch.allclose(out.image_embeds, whole, atol=1e-5)
    assert torch.allclose(share.sum(1), torch.ones(1, 6, 6), atol=1e-5)


def test_the_background_rule(tower: GroupTower) -> None:
    image = some_images()[0]
    plain = GroupVit(tower).segment(image, NAMES)
    assert (plain.labels >= 0).all()
    small = expected(tower, NAMES, 5, soft=False)
    peak = small.max(0)
    middle = float((np.unique(peak)[0] + np.unique(peak)[-1]) / 2)
    cut = GroupVit(tower, GroupVitConfig(background_threshold=middle)).segment(image, NAMES)
    ground = upsample((peak < middle)[None].astype(np.float32), plain.labels.shape)[0]
    assert (cut.labels == np.where(ground >= plain.planes.max(0), -1, plain.labels)).all()
    assert {-1} < set(np.unique(cut.labels))
    assert np.array_equal(cut.planes, plain.planes)
    # The best group is never background.
    strict = GroupVit(tower, GroupVitConfig(background_threshold=1.0)).segment(image, NAMES)
    assert (strict.labels >= 0).any()
    published = GroupVit(tower, GroupVitConfig(background_threshold="voc21"))
    assert published.threshold == 0.95
    assert (published.planes_are, GroupVit(tower).planes_are) == ("final", "probability")
    with pytest.raises(OvssError, match="background_threshold"):
        GroupVitConfig(background_threshold="voc")


def test_names_that_fit_the_image_least_are_left_out() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 4.0]])
    found = group_scores(logits, torch.tensor([0.3, 0.1, 0.2]), 2)
    first, power = logits.softmax(1), logits.exp()
    assert (found[:, 1] == 0).all()
    for k in (0, 2):
        assert torch.allclose(found[:, k], first[:, k] * power[:, k] / (power[:, 0] + power[:, 2]))
    assert torch.equal(group_scores(logits, torch.zeros(3), None), first)


def test_any_image_any_names_any_side(tower: GroupTower) -> None:
    model = GroupVit(tower, GroupVitConfig(background_threshold=0.2))
    images = some_images()
    found = model.segment_batch(images, [NAMES, [], ["sky", "grass", "sea"]])
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[1].labels == -1).all()
    assert found[1].planes.shape[0] == 0
    assert found[2].planes.shape[0] == len(found[2].classes)
    again = model.segment(images[0], NAMES)
    assert np.allclose(again.planes, found[0].planes, atol=1e-5)
    large = GroupVit(tower, GroupVitConfig(image_size=64)).segment(images[0], NAMES)
    assert large.planes.shape == found[0].planes.shape
    assert not np.allclose(large.planes, found[0].planes, atol=1e-3)


def test_loads_by_name(tower: GroupTower) -> None:
    model = ovsslib.load("groupvit", vlm=tower, top=None)
    assert model.config.to_dict()["top"] is None
    assert model.config.hash() != GroupVitConfig().hash()
    with pytest.raises(OvssError, match="model 'nvidia/groupvit-gcc-yfcc' is not on this machine"):
        ovsslib.load("groupvit")
