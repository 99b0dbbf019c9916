"""LAVIS's weight names; that the renamed weights compute the same is test_golden's business."""

from __future__ import annotations

from safetensors import safe_open

from ovsslib.vlm.lavis.names import rename_state, transformers_name
from support.helpers import ROOT

WEIGHTS = ROOT / "tests" / "golden" / "released_code" / "weights_lavis_names.safetensors"


def test_every_golden_weight_gets_its_own_name() -> None:
    with safe_open(WEIGHTS, framework="np") as file:
        names = list(file.keys())
    renamed = rename_state({name: name for name in names})
    assert len(renamed) == len(names)
    assert not any(name.startswith("visual_encoder") for name in renamed)


def test_final_norm_is_not_a_block_norm() -> None:
    assert transformers_name("visual_encoder.norm.weight") == "vision_model.post_layernorm.weight"
    assert (
        transformers_name("visual_encoder.blocks.11.norm1.weight")
        == "vision_model.encoder.layers.11.layer_norm1.weight"
    )


def test_argument_is_left_alone_and_buffers_go() -> None:
    state = {"text_encoder.embeddings.position_ids": 1, "visual_encoder.cls_token": 2}
    assert rename_state(state) == {"vision_model.embeddings.class_embedding": 2}
    assert len(state) == 2
