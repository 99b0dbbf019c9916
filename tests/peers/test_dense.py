"""What all dense methods share, with MaskCLIP as the example."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.paths import data
from ovsslib.peers.dense import decided
from ovsslib.peers.maskclip import MaskClip, MaskClipConfig
from ovsslib.pnp.pamr import pamr
from ovsslib.pnp.resample import upsample
from ovsslib.protocols.adapter import Windowed, windowed
from ovsslib.protocols.protocol import get_protocol
from ovsslib.protocols.windows import Window, cut
from support.helpers import one_error
from support.towers import make_hub_clip, micro

DATA = load_dataset("diorama", None, "tune")


def test_segments_as_any_method_does() -> None:
    model = ovsslib.load("maskclip", device="cpu")
    images = [DATA.image(DATA.ids[0]), Image.new("L", (40, 9), 90), DATA.image(DATA.ids[1])]
    classes = [["sky", "grass"], ["sky"], []]
    first, grey, none = model.segment_batch(images, classes)
    assert first.labels.shape == (images[0].height, images[0].width)
    assert first.planes.shape == (2, *first.labels.shape)
    assert set(np.unique(first.labels)) <= {0, 1}
    assert (first.labels == first.planes.argmax(0)).all()
    assert (grey.labels == 0).all()
    assert (none.labels == -1).all()
    assert none.planes.shape == (0, *none.labels.shape)
    assert model.segment(images[0], classes[0]).planes == pytest.approx(first.planes, abs=1e-5)
    assert model.segment_batch([], []) == []


def test_planes_are_cosines_at_the_image_s_size() -> None:
    planes = np.array([[[0.0, 1.0]], [[0.5, 0.5]]], np.float32)
    found = decided(Image.new("RGB", (4, 2)), planes, ["a", "b"])
    assert found.labels.tolist() == [[1, 1, 0, 0]] * 2
    assert found.planes.shape == (2, 2, 4)
    assert found.scores == (1.0, 0.5)


def test_a_protocol_brings_its_sentences_and_windows(tmp_path: Path) -> None:
    tcl = get_protocol("tcl").resolved("diorama")
    hub = ovsslib.load("maskclip", vlm=str(make_hub_clip(tmp_path / "hub", side=224)))
    for model, side in ((MaskClip(micro()), None), (hub, 448)):
        adapted = windowed(model, tcl, DATA).segmenter
        assert adapted.config.templates == "tcl"
        assert adapted.config.image_size == side
        assert model.config.templates is None
    own = ovsslib.load("maskclip", templates="openai", image_size=64)
    assert own.for_protocol(tcl).config == own.config
    assert len(own.sentences()) == 80
    assert [sentence("bus") for sentence in MaskClip(micro()).sentences()] == ["a picture of a bus"]


def test_image_size_is_the_side_that_the_model_sees() -> None:
    coarse = ovsslib.load("maskclip", image_size=56).segment(
        DATA.image(DATA.ids[0]), ["sky", "sea"]
    )
    fine = ovsslib.load("maskclip").segment(DATA.image(DATA.ids[0]), ["sky", "sea"])
    assert coarse.planes.shape == fine.planes.shape
    assert not np.allclose(coarse.planes, fine.planes, atol=1e-2)


def test_pamr_refines_the_planes_at_the_image_s_size() -> None:
    image, names = DATA.image(DATA.ids[0]), ["sky", "grass", "house"]
    plain = ovsslib.load("maskclip").segment(image, names)
    model = ovsslib.load("maskclip", pamr=2, pamr_dilations=[1, 6])
    refined = model.segment(image, names)
    expected = pamr(
        torch.from_numpy(plain.planes),
        torch.tensor(plain.image).permute(2, 0, 1) / 255,
        iterations=2,
        dilations=(1, 6),
    )
    assert np.allclose(refined.planes, expected.numpy(), atol=1e-5)
    assert (refined.labels == refined.planes.argmax(0)).all()
    assert 0 < (refined.labels != plain.labels).mean() < 0.5
    assert model.segment_batch([image], [[]])[0].planes.shape == (0, *plain.labels.shape)


def test_windows_are_refined_before_they_are_averaged() -> None:
    window = Window(short=96, crop=64, stride=32)
    image, names = DATA.image(DATA.ids[0]), ["sky", "grass"]
    model = ovsslib.load("maskclip", pamr=3, pamr_dilations=[2])
    parts, places, resized = cut(image, window)
    assert len(parts) > 1
    total = np.zeros((2, resized.height, resized.width))
    for part, (top, left, bottom, right) in zip(parts, places, strict=True):
        total[:, top:bottom, left:right] += model.segment(part, names).planes
    # The number of windows that see a pixel is the same for both names: it decides nothing.
    found = Windowed(model, window).segment(image, names)
    expected = upsample(total.astype(np.float32), found.labels.shape).argmax(0)
    assert (found.labels == expected).mean() > 0.999


def test_later_settings_leave_stored_results_their_names() -> None:
    stored = json.loads(next(data("results").glob("maskclip_*.json")).read_text())
    assert MaskClipConfig(**stored["config"]).hash() == stored["config_hash"]
    assert MaskClipConfig(pamr=5).hash() != MaskClipConfig(pamr=10).hash()
    assert MaskClipConfig(pamr_dilations=(1, 2)).to_dict()["pamr_dilations"] == [1, 2]


def test_command(tmp_path: Path) -> None:
    words = ["run", "--method", "maskclip", "--vlm", "micro-clip", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--filter", "all", "--limit", "3"])
    assert done.exit_code == 0, done.output
    assert "maskclip with micro-clip on diorama val (3 of 3 images" in done.stdout
    assert len(list(tmp_path.glob("maskclip_micro-clip_*.json"))) == 1
    one_error(CliRunner().invoke(app, [*words, "--set", "mlp=true"]), 2, "unknown setting 'mlp'")


def test_what_it_refuses() -> None:
    with pytest.raises(OvssError, match="maskclip has no presets"):
        ovsslib.load("maskclip", preset="micro-blip")
    with pytest.raises(OvssError, match="CLIP model 'micro-blip' is not on this machine"):
        ovsslib.load("maskclip", vlm="micro-blip")
    with pytest.raises(OvssError, match="residual"):
        ovsslib.load("maskclip", residual="yes")
    with pytest.raises(OvssError, match="set of templates 'tlc'"):
        ovsslib.load("maskclip", templates="tlc")
