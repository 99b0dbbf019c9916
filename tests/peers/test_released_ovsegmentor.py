"""OVSegmentor's released file: images and texts to scores from the authors' names alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.peers.released_ovsegmentor import OvSegmentorTower
from ovsslib.vlm.lavis.tokenizer import read_vocabulary
from support import released, released_ovsegmentor
from support.helpers import tiny_vocabulary

NAMES = ["house", "traffic light", "sky", "sheep", "car", "bus"]
BERT = "text_encoder.transformer."


def write(folder: Path, state: released.State) -> Path:
    path = folder / "ovsegmentor.pth"
    torch.save({"model": state, "epoch": 9, "metrics": {"miou": 0.5}}, path)
    (folder / "vocab.txt").write_text("\n".join(tiny_vocabulary()) + "\n")
    return path


def test_the_authors_file_by_hand(tmp_path: Path) -> None:
    state = released_ovsegmentor.ovsegmentor_state(len(tiny_vocabulary()))
    path = write(tmp_path, state)
    method = ovsslib.load("ovsegmentor", vlm=path, device="cpu")
    found = method.segment(released.picture(), NAMES).planes
    tokenizer = read_vocabulary(tmp_path / "vocab.txt")
    with torch.no_grad():
        texts = torch.stack(
            [
                released_ovsegmentor.bert_features(
                    state, tokenizer.encode(f"a photo of a {name}.").ids
                )
                for name in NAMES
            ]
        )
        pixels = released.pixels_of(released.picture(), released.IMAGENET)
        groups, whole, share = released_ovsegmentor.ovsegmentor_groups(state, pixels)
        share = interpolate(share[None], (32, 32), mode="bilinear")[0]
        expected = released.group_planes(groups, whole, share, texts, math.exp(2))
    assert len(share.argmax(0).unique()) > 1
    assert np.allclose(found, expected.numpy(), atol=1e-4)
    half = ovsslib.load("ovsegmentor", vlm=path, device="cpu", dtype="bfloat16", image_size=48)
    assert np.isfinite(half.segment(released.picture(), NAMES).planes).all()


def missing(state: released.State) -> None:
    del state["img_projector.linear_out.bias"]


def left_over(state: released.State) -> None:
    state["img_encoder.proj"] = torch.ones(2, 2)


def roberta(state: released.State) -> None:
    state[f"{BERT}embeddings.token_type_embeddings.weight"] = torch.ones(1, released.TEXT)


def oblong(state: released.State) -> None:
    state["img_encoder.pos_embed"] = torch.ones(15, 32)


def one_stage(state: released.State) -> None:
    for name in [name for name in state if name.startswith("img_encoder.layers.1.")]:
        del state[name]


def narrow_bert(state: released.State) -> None:
    name = f"{BERT}encoder.layer.0.intermediate.dense.weight"
    state[name] = torch.ones(96, 60)


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (missing, r"lacks 1 weights of OVSegmentor \(visual_projection"),
        (left_over, r"holds 1 weights that OVSegmentor lacks \(img_encoder.proj"),
        (roberta, "is not BERT"),
        (oblong, "15 patches"),
        (one_stage, "1 stages"),
        (narrow_bert, "do not divide the width 60"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, spoil, hint: str) -> None:
    state = released_ovsegmentor.ovsegmentor_state(len(tiny_vocabulary()))
    spoil(state)
    path = write(tmp_path, state)
    with pytest.raises(OvssError, match=hint) as caught:
        OvSegmentorTower(str(path), "cpu")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_type_that_is_not_known(tmp_path: Path) -> None:
    path = write(tmp_path, released_ovsegmentor.ovsegmentor_state(len(tiny_vocabulary())))
    with pytest.raises(OvssError, match="dtype"):
        OvSegmentorTower(str(path), "cpu", "float8")


def test_a_tokenizer_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, released_ovsegmentor.ovsegmentor_state(len(tiny_vocabulary())))
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(OvssError, match="tokenizer"):
        OvSegmentorTower(str(path), "cpu")
