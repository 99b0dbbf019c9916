"""What all dense methods share, with MaskCLIP as the example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.dense import decided
from ovsslib.peers.maskclip import MaskClip
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.protocol import get_protocol
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
    assert (model.segment(images[0], []).labels == -1).all()
    assert model.segment_batch([], []) == []


def test_planes_are_cosines_at_the_image_s_size() -> None:
    planes = np.array([[[0.0, 1.0]], [[0.5, 0.5]]], np.float32)
    found = decided(Image.new("RGB", (4, 2)), planes, ["a", "b"])
    assert found.labels.tolist() == [[1, 1, 0, 0]] * 2
    assert found.planes.shape == (2, 2, 4)
    assert found.scores == (1.0, 0.5)


def test_a_protocol_brings_its_sentences_and_windows(tmp_path: Path) -> None:
    tcl = get_protocol("tcl").resolved("diorama")
    hub = ovsslib.load("maskclip", vlm=str(make_hub_clip(tmp_path / "hub")))
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
