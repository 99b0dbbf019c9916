"""Maps of one pass against those of `PnPOVSS.maps`, layer by layer and head by head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ovsslib.io.images import open_image
from ovsslib.pnp.all_layers import layer_maps
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.vlm.blip.matcher import load_blip
from ovsslib.vlm.bridgetower import load_bridgetower
from support.helpers import tiny_blip, write_photo  # noqa: F401 - a fixture among them
from support.tiny_bridgetower import tiny_bridgetower  # noqa: F401 - a fixture

NAMES: list[list[str]] = [
    ["dog"],
    [],
    ["hot air balloon", "sky", "grass"],
    ["traffic light", "cat"],
]


@pytest.fixture(scope="module", params=["blip", "bridgetower"])
def matcher(request: pytest.FixtureRequest) -> Any:
    load = {"blip": load_blip, "bridgetower": load_bridgetower}[request.param]
    folder = request.getfixturevalue(f"tiny_{request.param}")
    found = load(folder, request.param, torch.float32, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    for weight in found.model.parameters():  # or maps would be all but uniform
        weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"salience": "attention"},
        {"score": "margin", "last_name": "sum"},
        {"classes_per_prompt": 2, "image_size": 48},
    ],
    ids=str,
)
def test_equals_the_pipeline_for_each_layer_and_head(
    matcher: Any, fields: dict[str, Any], tmp_path: Path
) -> None:
    paths = [write_photo(tmp_path / f"{i}.png", (60, 40), seed=i) for i in range(len(NAMES))]
    pictures = [open_image(path) for path in paths]
    base = PnPConfig(layer=1, head=None, rounds=1).replace(**fields)
    found = layer_maps(matcher, base, pictures, NAMES)
    assert found[1].shape[:3] == (matcher.layers, matcher.heads, 0)
    seen = 0.0
    for layer in range(1, matcher.layers + 1):
        for head in (None, *range(1, matcher.heads + 1)):
            config = base.replace(layer=layer, head=head)
            for mine, theirs in zip(
                found, PnPOVSS(matcher, config).maps(pictures, NAMES), strict=True
            ):
                if not theirs.classes:
                    continue
                one = mine[layer - 1]
                one = one.mean(0) if head is None else one[head - 1]
                scale = theirs.maps.max()
                assert one.dtype == np.float32
                assert np.abs(one.reshape(theirs.maps.shape) - theirs.maps).max() <= 2e-5 * scale
                seen = max(seen, float(scale))
    assert seen > 1e-5  # not equal because nothing happens
