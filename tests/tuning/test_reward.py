"""The CLIP reward, with the shipped micro-clip, against open_clip called image by image."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.filters.captions import image_labels
from ovsslib.tuning import reward as module
from ovsslib.tuning.reward import Reward, RewardOptions
from support.helpers import ROOT

FOLDER = ROOT / "data/checkpoints/micro-clip"
SIDE = 112
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture(scope="module")
def data():
    return load_dataset("diorama", split="tune")


@pytest.fixture(scope="module")
def reward(data):
    return Reward(data.classes)


def true_masks(data, name: str, labels: tuple[int, ...]) -> np.ndarray:
    truth = Image.fromarray(data.label(name)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.stack([np.asarray(truth) == label for label in labels])


def blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Soft random masks in 0..1 with values on both sides of 0.5."""
    return np.kron(rng.random((*shape, 7, 7)), np.ones((SIDE // 7, SIDE // 7))).astype(np.float32)


class Plain:
    """Equations 4 and 5 as written: one open_clip call an image, the softmax in numpy."""

    def __init__(self, classes: tuple[str, ...], prompt: str) -> None:
        self.model = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}")[0].eval()
        tokenize = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
        with torch.no_grad():
            texts = self.model.encode_text(tokenize([f"{prompt} {name}" for name in classes]))
        self.texts = texts.double().numpy()

    def chances(self, image: np.ndarray, labels: tuple[int, ...], scope: str) -> np.ndarray:
        with torch.no_grad():
            features = (
                self.model.encode_image(torch.tensor(image).float()[None])[0].double().numpy()
            )
        lengths = np.linalg.norm(self.texts, axis=1) * np.linalg.norm(features)
        cosines = self.texts @ features / lengths
        f = np.exp(self.model.logit_scale.item()) * cosines
        asked = np.array(labels) - 1
        rivals = f[asked] if scope == "image" else f
        return np.exp(f[asked]) / np.exp(rivals).sum()

    def wins(self, image, masks, labels, options) -> np.ndarray:
        fill = (-MEAN / STD if options.contrast == "black" else np.zeros(3))[:, None, None]
        bare = self.chances(np.broadcast_to(fill, image.shape), labels, options.scope)
        wins = np.zeros(masks.shape[:2], bool)
        for c, candidate in enumerate(masks):
            used = (candidate >= 0.5) * 1.0 if options.mask == "hard" else candidate
            for k, mask in enumerate(used):
                masked = self.chances(mask * image + (1 - mask) * fill, labels, options.scope)
                wins[c, k] = masked[k] > bare[k] and mask.any()
        return wins


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scope": "image"},
        {"contrast": "mean"},
        {"mask": "soft"},
        {"prompt": "a photo of"},
        {"scope": "image", "contrast": "mean", "mask": "soft"},
    ],
    ids=str,
)
def test_equals_the_plain_computation(data, fields) -> None:
    options = RewardOptions.from_dict(fields)
    ours, plain = Reward(data.classes, options), Plain(data.classes, options.prompt)
    rng = np.random.default_rng(3)
    decided = []
    for name in data.ids[:4]:
        labels = image_labels(data, name)
        squashed = data.image(name).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        image = ((np.asarray(squashed) / 255 - MEAN) / STD).transpose(2, 0, 1)
        pixels = ours.prepare(data.image(name))
        np.testing.assert_allclose(pixels, image, atol=1e-5)
        masks = blobs(rng, (3, len(labels)))
        masks[0] = true_masks(data, name, labels)
        masks[1, 0] = 0
        expected = plain.wins(image, masks, labels, options)
        wins = ours.wins(pixels, masks, labels)
        assert wins.dtype == bool
        np.testing.assert_array_equal(wins, expected)
        decided += wins.ravel().tolist()
    assert 0.2 < np.mean(decided) < 0.95  # both answers occur


def test_true_masks_win_more_often_than_moved_ones_and_than_what_they_leave_out(data) -> None:
    # Moved: as large and of the same shape, rolled by a random distance. On all 100 images of
    # the tune split: true 83 %, moved 47 %, inverse 29 % of 531 (softmax over the data set).
    rng = np.random.default_rng(0)
    dataset, image = (Reward(data.classes, RewardOptions(scope=s)) for s in ("dataset", "image"))
    share = {"dataset": np.zeros(3), "image": np.zeros(3)}
    count = 0
    for name in data.ids[:30]:
        labels = image_labels(data, name)
        true = true_masks(data, name, labels)
        moved = np.stack([np.roll(mask, rng.integers(SIDE, size=2), (0, 1)) for mask in true])
        masks = np.stack([true, moved, ~true])
        for scope, reward in (("dataset", dataset), ("image", image)):
            share[scope] += reward.wins(reward.prepare(data.image(name)), masks, labels).sum(1)
        count += len(labels)
    for total in share.values():
        true, moved, inverse = total / count
        assert true > 0.75
        assert moved < true - 0.25
        assert inverse < true - 0.4


def test_the_only_class_of_an_image_cannot_win_among_its_own(data, reward) -> None:
    name = data.ids[0]
    label = image_labels(data, name)[:1]
    masks = true_masks(data, name, label)[None]
    pixels = reward.prepare(data.image(name))
    own = Reward(data.classes, RewardOptions(scope="image"))
    assert own.wins(pixels, masks, label).tolist() == [[False]]


def test_no_mask_of_the_data_set_is_read(data, reward, tmp_path, monkeypatch) -> None:
    root = tmp_path / "diorama"
    shutil.copytree(data.root / "ImageSets", root / "ImageSets")
    shutil.copytree(data.root / "JPEGImages", root / "JPEGImages")
    shutil.copy(data.root / "captions.jsonl", root)
    (root / "SegmentationClass").mkdir()
    bare = load_dataset("diorama", root, "tune")
    with pytest.raises(OvssError, match="SegmentationClass"):
        bare.label(bare.ids[0])
    opened: list[str] = []
    real = Image.open

    def noted(path, *args, **options):
        opened.append(str(path))
        return real(path, *args, **options)

    masks = blobs(np.random.default_rng(5), (4, 20))
    few = data.ids[:3]
    expected = [reward.wins(reward.prepare(data.image(n)), masks[:, :2], (1, 2)) for n in few]
    monkeypatch.setattr(Image, "open", noted)
    mine = Reward(bare.classes)
    for name, wins in zip(few, expected, strict=True):
        pixels = mine.prepare(bare.image(name))
        assert np.array_equal(mine.wins(pixels, masks[:, :2], (1, 2)), wins)
    assert all(Path(path).parent == root / "JPEGImages" for path in opened)


def test_wrong_options() -> None:
    with pytest.raises(OvssError, match="reward's scope 'datset'; did you mean 'dataset'"):
        RewardOptions(scope="datset")
    with pytest.raises(OvssError, match="reward's contrast 'blck'; did you mean 'black'"):
        RewardOptions(contrast="blck")
    with pytest.raises(OvssError, match="setting of the reward 'masks'; did you mean 'mask'"):
        RewardOptions.from_dict({"masks": "soft"})
    with pytest.raises(OvssError, match="prompt must be str, got 1"):
        RewardOptions(prompt=1)
    with pytest.raises(OvssError, match="reward 'bfloat'; did you mean 'bfloat16'"):
        RewardOptions(dtype="bfloat")
    assert RewardOptions.from_dict({}) == RewardOptions()


def test_half_precision_changes_few_decisions(data, reward) -> None:
    half = Reward(data.classes, RewardOptions(dtype="bfloat16"))
    wins = []
    for name in data.ids[:4]:
        labels = image_labels(data, name)
        masks = blobs(np.random.default_rng(5), (20, len(labels)))
        pixels = reward.prepare(data.image(name))
        wins.append([one.wins(pixels, masks, labels).ravel() for one in (reward, half)])
    whole, halved = np.concatenate(wins, axis=1)
    assert (whole != halved).mean() < 0.03
    assert whole.any()
    assert not whole.all()
    assert next(half.model.visual.parameters()).dtype == torch.bfloat16
    assert next(reward.model.visual.parameters()).dtype == torch.float32


def test_what_cannot_be_made(tmp_path, monkeypatch) -> None:
    with pytest.raises(OvssError, match="'micro-clop' is not on this machine"):
        Reward(["cat"], RewardOptions(model="micro-clop"))
    broken = tmp_path / "broken"
    shutil.copytree(FOLDER, broken)
    (broken / "tokenizer.json").write_text("junk")
    with pytest.raises(OvssError, match="cannot be loaded"):
        Reward(["cat"], RewardOptions(model=str(broken)))
    for classes in ([], "cat"):
        with pytest.raises(OvssError, match="needs a list of class names"):
            Reward(classes)
    settings = {"size": (96, 64), "mean": MEAN, "std": STD}
    monkeypatch.setattr(open_clip, "get_model_preprocess_cfg", lambda _: settings)
    with pytest.raises(OvssError, match="does not take square input"):
        Reward(["cat"])


def test_wrong_arguments(data, reward) -> None:
    pixels = torch.zeros(3, SIDE, SIDE)
    masks = np.zeros((1, 2, SIDE, SIDE), np.float32)
    for labels in ([0, 1], [1, 21], [1, 1]):
        with pytest.raises(OvssError, match="must be 1 to 20, each once"):
            reward.wins(pixels, masks, labels)
    with pytest.raises(
        OvssError, match=r"must be \(C, 1, 112, 112\) for 1 labels, got \(1, 2, 112"
    ):
        reward.wins(pixels, masks, [1])
    with pytest.raises(OvssError, match=r"image must be \(3, 112, 112\); use prepare"):
        reward.wins(pixels[:, :90], masks, [1, 2])
    for value in (1.5, -0.1, np.nan):
        masks[0, 0, 5, 5] = value
        with pytest.raises(OvssError, match="between 0 and 1"):
            reward.wins(pixels, masks, [1, 2])


def count_encoded(reward: Reward, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that CLIP's image encoder gets from here on."""
    sizes: list[int] = []
    encode = reward.model.encode_image

    def counted(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        return encode(images)

    monkeypatch.setattr(reward.model, "encode_image", counted)
    return sizes


def test_equal_masks_are_encoded_once_and_batches_change_nothing(data, reward, monkeypatch) -> None:
    name = data.ids[1]
    labels = image_labels(data, name)
    pixels = reward.prepare(data.image(name))
    some = blobs(np.random.default_rng(1), (5, len(labels)))
    some[4] = some[1]
    some[2, 1] = some[0, 0]  # of another class
    some[3, 0] = 0.4  # nothing, once it is cut at 0.5
    one_by_one = np.concatenate([reward.wins(pixels, mask[None], labels) for mask in some])
    sizes = count_encoded(reward, monkeypatch)
    assert np.array_equal(reward.wins(pixels, some, labels), one_by_one)
    distinct = 4 * len(labels) - 2
    assert sum(sizes) == distinct
    assert max(sizes) <= module.BATCH == 16
    for batch in (1, 3, 64):
        monkeypatch.setattr(module, "BATCH", batch)
        other = Reward(data.classes)
        sizes = count_encoded(other, monkeypatch)
        assert np.array_equal(other.wins(pixels, torch.as_tensor(some), labels), one_by_one)
        assert max(sizes) == min(batch, distinct)
        assert sum(sizes) == distinct
    assert np.array_equal(reward.wins(pixels, some >= 0.5, labels), one_by_one)


def test_what_shows_nothing_costs_nothing_and_wins_nothing(data, reward, monkeypatch) -> None:
    pixels = reward.prepare(data.image(data.ids[0]))
    sizes = count_encoded(reward, monkeypatch)
    nothing = np.zeros((2, 3, SIDE, SIDE), bool)
    assert not reward.wins(pixels, nothing, [1, 2, 3]).any()
    black = reward.prepare(Image.new("RGB", (50, 30)))
    assert not reward.wins(black, ~nothing, [1, 2, 3]).any()
    assert reward.wins(pixels, np.zeros((2, 0, SIDE, SIDE)), []).shape == (2, 0)
    assert reward.wins(pixels, nothing[:0], [1, 2, 3]).shape == (0, 3)
    assert sizes == []


def test_scopes_that_share_the_passes_are_each_alone(data, monkeypatch) -> None:
    labels = image_labels(data, data.ids[1])
    masks = blobs(np.random.default_rng(2), (4, len(labels)))
    rewards = {s: Reward(data.classes, RewardOptions(scope=s)) for s in ("dataset", "image")}
    pixels = rewards["image"].prepare(data.image(data.ids[1]))
    alone = [reward.wins(pixels, masks, labels) for reward in rewards.values()]
    sizes = count_encoded(rewards["image"], monkeypatch)
    both = rewards["image"].wins_by_scope(pixels, masks, labels, list(rewards))
    np.testing.assert_array_equal(both, alone)
    assert sum(sizes) == 4 * len(labels)


def test_the_label_names_what_differs_from_the_paper() -> None:
    assert RewardOptions(model="another", dtype="bfloat16").label == "paper"
    assert RewardOptions(mask="soft", scope="image").label == "scope=image, mask=soft"


def test_all_combinations_once_and_its_own_first() -> None:
    own = RewardOptions(scope="image")
    found = own.ablated(["scope", "contrast", "mask"])
    assert found[0] == own
    assert len(set(found)) == len(found) == 8
    assert own.ablated([]) == [own]
    with pytest.raises(OvssError, match="did you mean 'contrast'"):
        own.ablated(["contrat"])


def test_options_that_show_clip_the_same_images() -> None:
    plain = RewardOptions()
    assert plain.shown == RewardOptions(scope="image").shown
    assert plain.shown != RewardOptions(contrast="mean").shown
