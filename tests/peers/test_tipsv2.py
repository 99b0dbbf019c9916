"""TIPSv2 against its last layer written anew, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.peers.tipsv2 import Tips, TipsConfig, TipsTower
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.protocol import get_protocol
from ovsslib.protocols.templates import TCL
from support.tiny_hub import NAMES, make_tipsv2, some_images


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> TipsTower:
    return TipsTower(str(make_tipsv2(tmp_path_factory.mktemp("tipsv2"))), "cpu")


def expected(tower: TipsTower, pixels: torch.Tensor) -> torch.Tensor:
    """Unit features (B, P, E): hidden states by transformers, the last layer token by token."""
    vision = tower.model.vision_model
    last, out = vision.encoder.layer[-1], []
    with torch.no_grad():
        before = vision(pixels, output_hidden_states=True).hidden_states[-2]
        for image in before:
            rows = []
            for token in image[1 + 2 :]:
                value = last.attention.v_proj(last.norm1(token))
                state = token + last.layer_scale1.lambda1 * last.attention.o_proj(value)
                state = state + last.layer_scale2.lambda1 * last.mlp(last.norm2(state))
                rows.append(normalize(vision.layernorm(state), dim=0))
            out.append(torch.stack(rows))
    return torch.stack(out)


@pytest.mark.parametrize("side", [None, 84])
def test_each_patch_keeps_its_own_value(tower: TipsTower, side: int | None) -> None:
    pixels = tower.prepare(some_images(), side)
    with torch.no_grad():
        found = normalize(Tips(tower).features(pixels), dim=-1)
    assert found.shape == (3, (pixels.shape[-1] // 14) ** 2, 32)
    assert torch.allclose(found, expected(tower, pixels), atol=1e-5)
    with torch.no_grad():
        whole = tower.model.vision_model(pixels).last_hidden_state[:, 3:]
    assert not torch.allclose(found, normalize(whole, dim=-1), atol=1e-2)


def test_pixels_are_from_0_to_1(tower: TipsTower) -> None:
    image = some_images()[0]
    pixels = tower.prepare([image])
    assert pixels.shape == (1, 3, 56, 56)
    plain = np.asarray(image.resize((56, 56), 2), np.float32) / 255
    assert np.allclose(pixels[0].permute(1, 2, 0), plain, atol=1e-6)


def test_planes_are_cosines_with_tcl_s_sentences(tower: TipsTower) -> None:
    image = some_images()[0]
    patches = expected(tower, tower.prepare([image]))[0]
    planes = []
    for name in NAMES:
        rows = []
        for sentence in TCL:
            row = tower.processor.tokenizer(sentence.format(name), return_tensors="pt")
            with torch.no_grad():
                out = tower.model.get_text_features(row["input_ids"], row["attention_mask"])
            rows.append(normalize(out.pooler_output[0], dim=0))
        planes.append((patches @ normalize(torch.stack(rows).mean(0), dim=0)).view(4, 4))
    found = Tips(tower)._planes([image], [NAMES])[0]
    assert np.allclose(found, torch.stack(planes), atol=1e-5)


def test_a_protocol_s_sentences_replace_tcl_s(tower: TipsTower) -> None:
    data = load_dataset("diorama", None, "tune")
    for protocol, sentences in (("sclip", "openai"), ("tcl", "tcl"), ("pnp-fixed", "tcl")):
        model = Tips(tower).for_protocol(get_protocol(protocol).resolved("diorama"))
        assert model.config.templates == sentences
    chosen = Tips(tower, TipsConfig(templates="openai"))
    assert chosen.for_protocol(get_protocol("tcl")).config.templates == "openai"
    tcl = windowed(Tips(tower), get_protocol("tcl").resolved("diorama"), data)
    assert tcl.segmenter.config.image_size is None, "56 pixels are fewer than 224"
    plain = Tips(tower, TipsConfig(templates=None, prompt="a photo of a"))
    assert [sentence("bus") for sentence in plain.sentences()] == ["a photo of a bus"]


def test_any_image_any_names(tower: TipsTower) -> None:
    images = some_images()
    found = ovsslib.load("tipsv2", vlm=tower).segment_batch(
        images, [NAMES, [], ["sky", "grass", "sea"]]
    )
    assert [one.labels.shape for one in found] == [i.size[::-1] for i in images]
    assert (found[0].labels == found[0].planes.argmax(0)).all()
    assert (found[1].labels == -1).all()
    assert found[2].planes.shape[0] == len(found[2].classes)


def test_without_the_model() -> None:
    with pytest.raises(OvssError, match=r"'google/tipsv2-b14' is not on this machine.*hf download"):
        ovsslib.load("tipsv2")
