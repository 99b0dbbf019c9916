"""Whatever the host program has set in torch, results are the same and its settings stay."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ovsslib.datasets import load_dataset
from ovsslib.filters.clip import Clip
from ovsslib.pnp.all_layers import layer_maps
from ovsslib.pnp.pipeline import build
from ovsslib.pnp.salience import attention_gradient
from ovsslib.tuning.reward import Reward
from ovsslib.vlm import load_vlm
from ovsslib.vlm.state import own_state
from support.helpers import tiny_blip  # noqa: F401 - a fixture
from support.tiny_blip2 import tiny_blip2  # noqa: F401 - a fixture
from support.tiny_bridgetower import tiny_bridgetower  # noqa: F401 - a fixture

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
NAMES = ["cat", "sky", "hot air balloon"]


@contextlib.contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


STATES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "grad off": lambda: torch.set_grad_enabled(False),
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "autocast float16": lambda: torch.autocast("cpu", torch.float16),
    "bfloat16": lambda: default(torch.bfloat16),
    "float16": lambda: default(torch.float16),
    "float64": lambda: default(torch.float64),
    "meta": lambda: torch.device("meta"),
}


@pytest.fixture(params=["blip", "blip2", "bridgetower"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"tiny_{request.param}")


def outcome(model: Any) -> list[np.ndarray]:
    """All that a model says of one image."""
    found = model.segment(PHOTO, NAMES)
    arrays = [found.labels, found.planes, np.array(found.match)]
    if model.matcher.family != "blip2":  # it does not offer all layers at once
        arrays += layer_maps(model.matcher, model.config, [PHOTO], [NAMES])
    return arrays


def same(one: list[np.ndarray], two: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def open_model(folder: Path) -> Any:
    return build(folder, "blip", "cpu", layer=1, head=None, rounds=2, image_size=32)


@pytest.mark.parametrize("state", STATES)
def test_a_matcher_takes_no_notice(folder: Path, state: str) -> None:
    before = open_model(folder)
    expected = outcome(before)
    assert len(np.unique(expected[0])) > 1
    with STATES[state]():
        inside = open_model(folder)
        assert same(outcome(before), expected)
        assert same(outcome(inside), expected)
    assert same(outcome(inside), expected)


@pytest.mark.parametrize("state", STATES)
def test_matches_and_derivatives(tiny_blip: Path, state: str) -> None:  # noqa: F811
    matcher = load_vlm(tiny_blip, "cpu")

    def slope() -> torch.Tensor:
        tokens = matcher.encode_images(matcher.preprocess([PHOTO]))
        return attention_gradient(
            matcher.match(tokens, [matcher.tokenize("cat")], 1, gradient=True)
        )

    expected = slope()
    with STATES[state]():
        found = slope()
    assert found.abs().sum() > 0
    assert torch.equal(found, expected)


@pytest.mark.parametrize("state", STATES)
def test_clip_takes_no_notice(state: str) -> None:
    data = load_dataset("diorama", split="tune")
    masks = np.kron(np.random.default_rng(0).random((4, 2, 7, 7)), np.ones((16, 16)))

    def scores() -> tuple[np.ndarray, np.ndarray]:
        reward = Reward(NAMES, device="cpu")
        wins = reward.wins(reward.prepare(PHOTO), masks, [1, 2])
        return Clip(device="cpu").scores(data, data.ids[0]), wins

    expected = scores()
    with STATES[state]():
        found = scores()
    # On another default device torch takes a slower way through attention, rounded otherwise.
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-6 * (state == "meta"))
    assert np.array_equal(found[1], expected[1])


def settings() -> tuple[object, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )


def test_settings_come_back_after_an_error() -> None:
    with contextlib.ExitStack() as stack:
        for make in ("inference", "autocast", "float64", "meta"):
            stack.enter_context(STATES[make]())
        before = settings()
        with contextlib.suppress(KeyError), own_state():
            inside = settings()
            raise KeyError
        assert settings() == before
    assert inside == (False, False, False, torch.float32, torch.device("cpu"))


def test_a_thread_that_ends_takes_nothing_from_another() -> None:
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with own_state():
            inside.set()
            leave.wait(10)

    with default(torch.bfloat16):
        thread = threading.Thread(target=first)
        thread.start()
        assert inside.wait(10)
        with own_state():
            leave.set()
            thread.join()
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.bfloat16


def test_a_loaded_model_can_be_copied(folder: Path) -> None:
    model = open_model(folder)
    expected = outcome(model)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        # Weights mapped from a file lie in memory otherwise: sums differ in their last digit.
        for one, two in zip(outcome(copied), expected, strict=True):
            np.testing.assert_allclose(one, two, atol=1e-3 * np.abs(two).max())


def test_a_model_travels_to_another_process(
    tiny_bridgetower: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    model = open_model(tiny_bridgetower)
    expected = outcome(model)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps((model, PHOTO)))
    code = (
        "import pickle, sys\n"
        "model, photo = pickle.load(open('model.pkl', 'rb'))\n"
        f"found = model.segment(photo, {NAMES})\n"
        "pickle.dump(found.labels, open('labels.pkl', 'wb'))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    labels = pickle.loads((tmp_path / "labels.pkl").read_bytes())
    assert np.array_equal(labels, expected[0])
