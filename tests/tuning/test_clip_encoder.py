"""The fast image encoder against open_clip's own, for micro-clip and for random weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from ovsslib.datasets import load_dataset
from ovsslib.filters.captions import image_labels
from ovsslib.filters.clip import encode_texts, load_open_clip
from ovsslib.tuning import clip_encoder as clip_tower
from ovsslib.tuning.clip_encoder import TOLERANCE, Tower, fast_bfloat16, unsure
from ovsslib.vlm.linear import packs

CPU = torch.device("cpu")
SMALL = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16}
LARGE = {"image_size": 336, "patch_size": 14, "width": 1024, "layers": 2, "head_width": 64}
TEXT = {"context_length": 8, "vocab_size": 20, "width": 32, "heads": 2, "layers": 1}
pytestmark = pytest.mark.skipif(not packs(torch.float32, CPU), reason="needs oneDNN")
half = pytest.mark.skipif(not packs(torch.bfloat16, CPU), reason="needs bfloat16 in oneDNN")


def built(*, quick: bool = False, kind: Any = open_clip.CLIP, **vision: Any) -> Any:
    """A CLIP whose image encoder has random values everywhere, norms and biases too."""
    torch.manual_seed(0)
    cfg = (LARGE if vision.pop("large", False) else SMALL) | vision
    model = kind(48, cfg, TEXT, quick_gelu=quick).eval()
    with torch.no_grad():
        for weight in model.visual.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.2)
    return model


def noise(model: Any, count: int = 3) -> Tensor:
    return torch.randn(count, 3, *open_clip.model.to_2tuple(model.visual.image_size))


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().norm() / wanted.detach().norm())


@pytest.fixture(scope="module")
def micro() -> Any:
    return load_open_clip("micro-clip")[0]


VARIANTS: dict[str, dict[str, Any]] = {
    "class token": {},
    "mean": {"pool_type": "avg"},
    "norm after mean": {"pool_type": "avg", "final_ln_after_pool": True},
    "norm after class token": {"final_ln_after_pool": True},
    "QuickGELU": {"quick": True},
    "tanh GELU": {"act_kwargs": {"approximate": "tanh"}},
    "no norm before": {"no_ln_pre": True},
    "layer scale": {"ls_init_value": 0.3},
    "one layer": {"layers": 1},
    "norms' epsilon": {"norm_kwargs": {"eps": 1e-2}},
    "other text encoder": {"kind": open_clip.CustomTextCLIP},
    "patch dropout": {"patch_dropout": 0.5},
    "oblong": {"image_size": (32, 48), "patch_size": (8, 16)},
    "wide": {"mlp_ratio": 3.0, "head_width": 64},
    "ViT-L/14 at 336 pixels": {"large": True, "quick": True},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS.keys())
def test_equals_open_clip(options: dict[str, Any]) -> None:
    model = built(**options)
    pictures = noise(model)
    with torch.inference_mode():
        wanted = model.encode_image(pictures)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tower = Tower(model)
    assert tower.own
    found = tower(pictures)
    assert found.dtype == torch.float32
    assert distance(found, wanted) < 1e-5
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    if packs(torch.bfloat16, CPU):
        coarse = Tower(model, torch.bfloat16)
        assert coarse.own
        assert 1e-5 < distance(coarse(pictures), wanted) < 0.02


def test_without_projection() -> None:
    model = built()
    model.visual.proj = None
    tower, pictures = Tower(model), noise(model)
    assert tower.own
    assert tower(pictures).shape == (3, 64)
    assert distance(tower(pictures), model.encode_image(pictures)) < 1e-5


def test_batches_change_nothing(micro: Any) -> None:
    tower, pictures = Tower(micro), noise(micro, 5)
    together = tower(pictures)
    one_by_one = torch.cat([tower(one[None]) for one in pictures])
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)


class Another(VisionTransformer):
    """May compute anything."""


def with_relu() -> Any:
    model = built()
    model.visual.transformer.resblocks[1].mlp[1] = nn.ReLU()
    return model


def derived() -> Any:
    model = built()
    model.visual.__class__ = Another
    return model


OTHERS: dict[str, Callable[[], Any]] = {
    "attentional pooling": lambda: built(attentional_pool=True, attn_pooler_heads=4),
    "no pooling": lambda: built(pool_type="none"),
    "other blocks": lambda: built(qk_norm=True),
    "other activation": with_relu,
    "derived": derived,
    "ResNet": lambda: built(layers=(1, 1, 1, 1), head_width=64, image_size=64),
    "double": lambda: built().double(),
    "training": lambda: built().train(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_understood_is_left_to_open_clip(name: str) -> None:
    model = OTHERS[name]()
    side = 64 if name == "ResNet" else 32
    pictures = torch.randn(2, 3, side, side)
    pictures = pictures.double() if name == "double" else pictures
    for dtype in (torch.float32, torch.bfloat16):
        tower = Tower(model, dtype)
        assert not tower.own
        with torch.inference_mode():
            assert torch.equal(tower(pictures), model.encode_image(pictures))


def test_what_computes_otherwise_is_left_to_open_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    # Looks alike, but what is asked of it is another thing.
    model = built()
    encode = model.encode_image
    monkeypatch.setattr(
        model, "encode_image", lambda pictures: functional.normalize(encode(pictures))
    )
    tower, pictures = Tower(model), noise(model)
    assert not tower.own
    with torch.inference_mode():
        assert torch.equal(tower(pictures), model.encode_image(pictures))
    assert not Tower(SimpleNamespace(encode_image=encode)).own
    monkeypatch.setattr(clip_tower, "packs", lambda *_: False)
    assert not Tower(built()).own
    assert not fast_bfloat16()


@half
@pytest.mark.parametrize("size", [1.0, 30.0, 1000.0])
def test_attention_of_any_size(size: float) -> None:
    torch.manual_seed(0)
    parts = [torch.randn(2, 3, 7, 16) for _ in range(3)]
    q, k, v = (part.bfloat16() for part in (parts[0] * size / 4, *parts[1:]))
    found = clip_tower._attend(q * np.log2(np.e), k, v).float()
    q = (q * np.log2(np.e)).float() / np.log2(np.e)  # as rounded
    wanted = functional.scaled_dot_product_attention(q, k.float(), v.float(), scale=1.0)
    assert found.isfinite().all()
    # Scores are rounded to 8 bits: by more than 1 where they are in the hundreds.
    if size < 1000:
        assert distance(found, wanted) < 0.01 * max(size / 3, 1)
    assert float(found.abs().max()) <= float(v.abs().max()) * 1.01


def test_unsure() -> None:
    margins = torch.tensor(
        [[TOLERANCE * 2, -TOLERANCE * 3, 1.9 * TOLERANCE, torch.inf, -torch.nan]]
    )
    assert unsure(margins, 2.0).tolist() == [[False, False, True, False, True]]
    assert unsure(torch.zeros(0), 2.0).shape == (0,)


@half
def test_bfloat16_and_float32_decide_as_open_clip(micro: Any) -> None:
    data = load_dataset("diorama", split="tune")
    prepare = load_open_clip("micro-clip")[1]
    texts = encode_texts(micro, "micro-clip", [f"a picture of a {name}" for name in data.classes])
    scale = float(micro.logit_scale.detach().exp())
    exact, coarse = Tower(micro), Tower(micro, torch.bfloat16)
    assert exact.own
    assert coarse.own
    rng = np.random.default_rng(0)
    errors, answers, repeated = [], [], []

    def logits(features: Tensor) -> Tensor:
        found = functional.normalize(features.double(), dim=-1) @ texts.double().T
        return (scale * found).log_softmax(1)

    blank = prepare(Image.new("RGB", (96, 96)))
    with torch.inference_mode():
        beat = logits(micro.encode_image(blank[None]))
    for name in data.ids[:12]:
        asked = torch.as_tensor(image_labels(data, name)) - 1
        shown = torch.as_tensor(np.kron(rng.random((16, 1, 6, 6)) < 0.3, np.ones((16, 16))))
        pictures = torch.where(shown > 0, prepare(data.image(name)), blank)
        with torch.inference_mode():
            plain = (logits(micro.encode_image(pictures)) - beat)[:, asked]
        fast = (logits(coarse(pictures)) - beat)[:, asked]
        again = unsure(fast, scale)
        won = fast > 0
        rows = again.any(1)
        won[rows] = (logits(exact(pictures[rows])) - beat)[:, asked] > 0
        assert torch.equal(won, plain > 0)
        errors.append(float((fast - plain).abs().max()))
        answers.append(float(won.float().mean()))
        repeated.append(float(again.float().mean()))
    assert max(errors) < TOLERANCE * scale / 2
    assert 0.1 < np.mean(answers) < 0.9
    assert 0 < np.mean(repeated) < 0.35


def test_bfloat16_is_not_used_where_it_changes_too_much() -> None:
    model, _ = load_open_clip("micro-clip")
    assert Tower(model, torch.bfloat16).own == packs(torch.bfloat16, torch.device("cpu"))
    for block in model.visual.transformer.resblocks:
        linear = (block.attn.out_proj, block.mlp[0], block.mlp[2])
        for weight in (block.attn.in_proj_weight, *(layer.weight for layer in linear)):
            weight.data *= 4
    rough = Tower(model, torch.bfloat16)
    assert not rough.own
    assert Tower(model).own
    picture = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(rough(picture), model.encode_image(picture))
