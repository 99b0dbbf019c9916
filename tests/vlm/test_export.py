"""The exported file, run by onnxruntime, against the model in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ovsslib.errors import OvssError
from ovsslib.evaluate.task import make_task
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import default_config
from ovsslib.pnp.refine import refine_maps
from ovsslib.vlm import load_vlm
from ovsslib.vlm.export import _slim, describe, export_onnx
from support.onnx_matcher import OnnxMatcher

IMAGES = 20
CLOSE = 1e-4


@pytest.fixture(scope="module")
def blip():
    return load_vlm("micro-blip", "cpu")


@pytest.fixture(scope="module")
def file(blip) -> bytes:
    return export_onnx(blip)


@pytest.fixture(scope="module")
def exported(file: bytes, blip) -> OnnxMatcher:
    return OnnxMatcher(file, blip)


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 8, 40, 96])
def test_all_layers_and_heads_at_any_length(exported, blip, length: int) -> None:
    torch.manual_seed(length)
    pixels = torch.randn(1, 3, blip.image_size, blip.image_size)
    ids = torch.randint(5, 140, (length,)).tolist()
    text = blip.tokenize("a cat")
    text = type(text)(tuple(ids), ((0, 1),) * length, (False,) * length, (False,) * length)
    match = blip.match_layers(blip.encode_images(pixels), [text])
    slopes = torch.autograd.grad(match.logits[:, 1].sum(), match.attention)
    logits, attention, gradient = exported.run(pixels, text)
    assert torch.allclose(logits, match.logits, atol=CLOSE)
    assert attention.shape == (1, blip.layers, blip.heads, length, 197)
    for layer in range(blip.layers):
        assert torch.allclose(attention[:, layer], match.attention[layer], atol=CLOSE)
        assert torch.allclose(gradient[:, layer], slopes[layer], atol=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("crf", [False, True])
def test_the_method_on_images(exported, blip, crf: bool) -> None:
    """Maps of all rounds to 1e-4 of their largest value, and the labels after refinement."""
    config = default_config(blip, crf=crf)
    work = make_task("diorama", limit=IMAGES)
    assert len(work.ids) == IMAGES
    for name in work.ids:
        picture = work.read(name)
        asked = [picture.image], [picture.classes]
        (want,) = PnPOVSS(blip, config).maps(*asked, stages=True)
        (got,) = PnPOVSS(exported, config).maps(*asked, stages=True)
        assert abs(got.match - want.match) < CLOSE
        for stage in ("attention", "gradcam", "rounds", "sum"):
            scale = want.stages[stage].max()
            assert scale > 0
            assert np.abs(got.stages[stage] - want.stages[stage]).max() < CLOSE * min(1, scale)
        assert np.array_equal(got.stages["dropped"], want.stages["dropped"])
        labels = [refine_maps(maps, config).labels for maps in (got, want)]
        assert np.array_equal(*labels)


@pytest.mark.slow
def test_one_small_file_without_others(file: bytes, blip) -> None:
    model = onnx.load_from_string(file)
    assert {one.domain for one in model.opset_import} == {""}
    constants = model.graph.initializer
    assert not any(one.external_data for one in constants)
    shipped = Path("data/checkpoints/micro-blip/model.safetensors")
    assert len(file) < 1.5 * (Path(__file__).parents[2] / shipped).stat().st_size
    assert [one.name for one in model.graph.input] == ["pixels", "ids"]


def test_what_a_program_needs_beside_it(blip) -> None:
    card = describe(blip)
    assert card["tokenizer"]["model"]["vocab"]["cat"] == blip.tokenizer.token_to_id("cat")
    assert card["image_size"] == 112
    assert card["image_mean"] == list(blip.image_mean)


def test_constants_are_halved_only_where_nothing_is_lost() -> None:
    from onnx import helper, numpy_helper

    exact = np.arange(64, dtype=np.float32)
    values = {"exact": exact, "fine": exact + np.float32(1e-4), "again": exact.copy()}
    values["large"] = exact + np.float32(1e6)
    parts = [numpy_helper.from_array(array, name) for name, array in values.items()]
    number = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [64])
    node = helper.make_node("Sum", list(values), ["out"])
    graph = helper.make_graph([node], "sum", [], [number], parts)
    slim = _slim(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]))
    kinds = {one.name: one.data_type for one in slim.graph.initializer}
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert kinds == {"exact.half": half, "fine": single, "large": single}
    out = OnnxMatcher(slim.SerializeToString(), None).session.run(None, {})[0]
    assert np.array_equal(out, sum(values.values()))


def test_what_cannot_be_exported(blip) -> None:
    with pytest.raises(OvssError, match="micro-bridgetower cannot be exported: give a BLIP"):
        export_onnx(load_vlm("micro-bridgetower", "cpu"))
    with pytest.raises(OvssError, match=r"torch\.bfloat16; load it in float32"):
        export_onnx(load_vlm("micro-blip", "cpu", "bfloat16"))
