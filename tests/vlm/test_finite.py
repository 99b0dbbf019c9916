"""Numbers that are not finite are found, wherever they stand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ovsslib.errors import OvssError
from ovsslib.vlm import load_vlm
from ovsslib.vlm.finite import check_scores, check_weights
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from support.lavis_files import folder, state, write  # noqa: F401 - fixtures
from support.tiny_blip2 import tiny_blip2  # noqa: F401 - a fixture
from support.tiny_bridgetower import tiny_bridgetower  # noqa: F401 - a fixture

BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", BAD)
def test_weights(value: float, dtype: torch.dtype) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(dtype)
    module[0].weight.data.view(-1)[:2] = torch.finfo(dtype).max * torch.tensor([1, -1], dtype=dtype)
    module.register_buffer("nothing", torch.empty(0))
    check_weights(module, "here")
    module[1].running_var[-1] = value
    half = ", or load it in float32" if dtype.itemsize == 2 else ""
    with pytest.raises(OvssError) as caught:
        check_weights(module, "here")
    assert str(caught.value) == (
        f"here: the weight 1.running_var holds NaN or infinite values; fetch the checkpoint again"
        f"{half}"
    )


@pytest.mark.parametrize("value", BAD)
def test_scores(value: float) -> None:
    scores = np.zeros((2, 3), np.float32)
    check_scores(scores, "x")
    check_scores(scores[:0], "x")
    scores[1, 2] = value
    with pytest.raises(OvssError, match=r"^x: scores are NaN or infinite; load the model in float"):
        check_scores(scores, "x")


@pytest.mark.parametrize(
    ("family", "tensor"),
    [
        ("blip", "vision_model.encoder.layers.1.mlp.fc1.weight"),
        ("blip2", "qformer.encoder.layer.2.crossattention.attention.key.weight"),
        ("bridgetower", "bridgetower.cross_modal_text_layers.1.crossattention.self.key.weight"),
    ],
)
def test_a_checkpoint_names_itself_and_the_tensor(
    request: pytest.FixtureRequest, tmp_path: Path, family: str, tensor: str
) -> None:
    copy = shutil.copytree(request.getfixturevalue(f"tiny_{family}"), tmp_path / "copy")
    weights = {k: v.clone() for k, v in load_file(copy / "model.safetensors").items()}
    weights[tensor].view(-1)[7] = torch.nan
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OvssError, match=r"^[^\n]+$") as caught:
        load_vlm(copy, "cpu")
    assert str(copy) in str(caught.value)
    assert f"the weight {tensor} holds NaN" in str(caught.value)
    weights[tensor].view(-1)[7] = 1e5  # finite until it is made float16
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    load_vlm(copy, "cpu")
    if family != "blip2":  # which keeps all but the image encoder in float32
        with pytest.raises(OvssError, match=r"holds NaN or infinite values; .* in float32$"):
            load_vlm(copy, "cpu", "float16")


def test_a_file_of_lavis(tmp_path: Path, state: dict[str, Any]) -> None:  # noqa: F811
    weights = {name: value.clone() for name, value in state.items()}
    weights["visual_encoder_m.cls_token"][:] = torch.nan  # not needed for matching
    path = write(tmp_path / "m.pth", weights)
    load_vlm(path, "cpu")
    weights["itm_head.bias"][1] = torch.inf
    write(path, weights)
    with pytest.raises(OvssError, match=r"m\.pth: m: the weight itm_head\.bias holds NaN"):
        load_vlm(path, "cpu")
