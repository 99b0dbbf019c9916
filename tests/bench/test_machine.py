"""FLOPs are those of the formula; calls are timed in turn."""

from __future__ import annotations

import pytest
import torch

from ovsslib.bench.case import Spec, prepare
from ovsslib.bench.machine import PRODUCTS, alternate, count_flops, matmul_rate
from ovsslib.bench.random_models import SHAPES, TINY
from ovsslib.bench.salience import ours
from ovsslib.errors import OvssError
from ovsslib.pnp.prompt import build_prompts
from ovsslib.vlm.blip.net import TextAttention

CPU = torch.device("cpu")


def test_flops_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextAttention, "folds", lambda *_: False)
    case = prepare(
        Spec(
            vlm=TINY,
            image_size=64,
            classes=3,
            layer=2,
            head=2,
            rounds=2,
            device="cpu",
        )
    )
    shape, config = SHAPES[TINY], case.config
    (prompt,) = build_prompts(case.classes[0], case.matcher.tokenize)
    t, p = len(prompt.tokens.ids), (64 // shape.patch) ** 2
    n, d, w = 1 + p, shape.image.width, shape.text.width
    image = p * d * 3 * shape.patch**2
    image += shape.image.layers * (4 * n * d * d + 2 * n * d * shape.image.inner + 2 * n * n * d)
    mlp = 2 * t * w * shape.text.inner
    own = 4 * t * w * w + 2 * t * t * w
    text = own + 2 * t * w * w + 2 * n * d * w + 2 * t * n * w + mlp
    # back through the layers above the watched one, and from its output to its probabilities
    back = own + 2 * t * t * w + 2 * t * w * w + 2 * t * n * w + mlp
    first = mlp + t * w * w + t * n * w
    above = shape.text.layers - config.layer
    forward = image + shape.text.layers * text + 2 * w
    assert count_flops(lambda: ours(case)) == 2 * 2 * (forward + above * back + first + 2 * w)


def test_matmul_rate_is_the_fastest_products(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 4.0, 4.0, 6.0, *[0.0, 8.0] * (PRODUCTS - 2)])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert matmul_rate(torch.float32, CPU, size=10) == 2 * 10**3 / 2.0


def test_a_type_that_cannot_be_multiplied() -> None:
    with pytest.raises(OvssError, match=r"no matrix product in torch\.bool"):
        matmul_rate(torch.bool, CPU, size=4)


def test_calls_are_made_in_turn() -> None:
    made: list[str] = []
    calls = {name: lambda name=name: made.append(name) for name in "ab"}
    assert alternate(calls, 3, CPU).keys() == {"a", "b"}
    assert made == list("ababab")
