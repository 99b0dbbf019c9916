"""`ovss bench peers`: what methods cost, those that are not here, and labels that must agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ovsslib
from ovsslib.bench import peers
from ovsslib.bench.peers import Spec, measure, parameters, same_share
from support.helpers import one_error, ovss
from support.tiny_dino import make_tiny_dino

SMALL = "bench peers --images 2 --batch 2 --repeat 1 --device cpu --no-memory".split()


def test_record_and_table(tmp_path: Path) -> None:
    done: Any = ovss(*SMALL, "--methods", "naclip,pnp-ovss,maskclip", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "peers-all-cpu.json").read_text())
    rows = record["rows"]
    assert [row["method"] for row in rows] == ["pnp-ovss", "naclip", "maskclip"]
    assert [row["vlm"] for row in rows] == ["micro-blip", "micro-clip", "micro-clip"]
    for row in rows:
        assert row["rate"] == pytest.approx(1 / row["seconds"])
        assert row["ratio"] == pytest.approx(row["seconds"] / rows[0]["seconds"])
        assert row["labels"] >= peers.ALIKE
        assert row["memory"] is None
    assert record["same_labels"]
    assert record["missing"] == {}
    settings = record["settings"]
    assert {key: settings[key] for key in ("images", "batch", "classes", "repeat")} == {
        "images": 2,
        "batch": 2,
        "classes": "all",
        "repeat": 1,
    }
    assert settings["threads"] >= 1
    (line,) = [line.split() for line in done.stdout.splitlines() if line.split()[0] == "naclip"]
    shown = (rows[1]["seconds"], rows[1]["rate"], rows[1]["ratio"], rows[1]["parameters"] / 1e6)
    assert line[2:6] == [f"{value:.4g}" for value in shown]


def test_memory_of_a_process_of_its_own() -> None:
    done: Any = ovss(*SMALL[:-1], "--methods", "naclip", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["rows"]
    assert row["memory"] > 4 * row["parameters"], "the weights count"
    assert row["memory"] < 200e6, "torch and the other libraries do not"


def test_the_median_of_turns_after_one_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    times, calls = [5.0, 1.0, 3.0], list[int]()

    def timed(call: Any, device: torch.device) -> float:
        call()
        assert device.type == "cpu"
        return times[len(calls) - 2]  # the first call was not timed

    segment = peers.segment

    def noted(model: Any, samples: Any, batch: int) -> list[np.ndarray]:
        calls.append(batch)
        return segment(model, samples, batch)

    monkeypatch.setattr(peers, "seconds", timed)
    monkeypatch.setattr(peers, "segment", noted)
    row = measure(Spec("naclip", images=2, batch=2, repeat=3, memory=False, device="cpu"))
    assert calls == [2, 2, 2, 2, 1]
    assert row["seconds"] == 1.5


@pytest.mark.parametrize(("classes", "counts"), [("all", {20}), ("present", set(range(1, 20)))])
def test_names_are_all_or_those_in_the_image(classes: Any, counts: set[int]) -> None:
    task = peers.task_of(Spec(classes=classes, images=3))
    samples = [task.read(name) for name in task.ids]
    assert {len(sample.classes) for sample in samples} <= counts
    for sample in samples:
        present = np.unique(sample.truth)
        assert set(sample.looked_for) >= set(present[(present > 0) & (present < 255)].tolist())


def test_a_named_method_whose_model_is_not_here() -> None:
    done: Any = ovss(*SMALL, "--methods", "naclip,sam3")
    one_error(done, 1, "sam3: model 'facebook/sam3' is not on this machine", "hf auth login")
    assert "naclip" in done.stdout.splitlines()[2]
    assert "not measured: sam3: model 'facebook/sam3' is not on this machine" in done.stdout


def test_a_method_that_is_not_named_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: peers.METHODS[name] for name in ("naclip", "sam3", "proxyclip")}
    monkeypatch.setattr(peers, "METHODS", few)
    monkeypatch.setenv("OVSS_CHECKPOINTS", "/nowhere")
    monkeypatch.setattr(peers, "find_models", missing_but("naclip"))
    done: Any = ovss(*SMALL, "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [row["method"] for row in record["rows"]] == ["naclip"]
    assert record["missing"] == dict.fromkeys(("sam3", "proxyclip"), "model not here")
    monkeypatch.setattr(peers, "find_models", missing_but("nothing"))
    one_error(ovss(*SMALL), 1, "no method could be measured")


def missing_but(method: str) -> Any:
    def find(spec: Any) -> None:
        if spec.method != method:
            raise ovsslib.OvssError("model not here")

    return find


def test_a_gpu_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Spec) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory: many numbers")

    monkeypatch.setattr(peers, "measure", full)
    one_error(ovss(*SMALL, "--methods", "naclip"), 1, "naclip: out of memory")


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = peers.measure

    def second(spec: Spec) -> dict[str, Any]:
        if spec.method != "naclip":
            raise KeyboardInterrupt
        return measured(spec)

    monkeypatch.setattr(peers, "measure", second)
    ovss(*SMALL, "--methods", "naclip,sclip", "--out", tmp_path)
    record = json.loads((tmp_path / "peers-all-cpu.json").read_text())
    assert [row["method"] for row in record["rows"]] == ["naclip"]


def test_labels_that_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    segment = peers.segment

    def shifted(model: Any, samples: Any, batch: int) -> list[np.ndarray]:
        found = segment(model, samples, batch)
        found[1][: 2 * (batch > 1)] = 77
        return found

    monkeypatch.setattr(peers, "segment", shifted)
    done = ovss(*SMALL, "--methods", "naclip")
    task = peers.task_of(Spec(images=2))
    sizes = [task.dataset.image(name).size for name in task.ids]
    share = 100 * (1 - 2 * sizes[1][0] / sum(width * height for width, height in sizes))
    one_error(done, 1, f"labels of naclip depend on the batch: {share:.3f} % of pixels are alike")


def test_share_of_pixels() -> None:
    rng = np.random.default_rng(0)
    ones = [rng.integers(0, 3, (7, 5)), rng.integers(0, 3, (2, 3))]
    others = [rng.integers(0, 3, one.shape) for one in ones]
    same = sum(
        bool(a[y, x] == b[y, x])
        for a, b in zip(ones, others, strict=True)
        for y in range(a.shape[0])
        for x in range(a.shape[1])
    )
    assert same_share(ones, others) == same / 41


def test_every_network_counts_once(tmp_path: Path) -> None:
    folder = make_tiny_dino(tmp_path / "dino")
    method = ovsslib.load("proxyclip", dino=str(folder), device="cpu")
    own = [weight.numel() for weight in method.matcher.model.parameters()]
    dino = [weight.numel() for weight in method.dino.model.parameters()]
    assert parameters(method) == sum(own) + sum(dino)
    method.again = [method.matcher.model.visual, {"the same": method.dino}]
    assert parameters(method) == sum(own) + sum(dino)
    blip = ovsslib.load("pnp-ovss", device="cpu")
    assert parameters(blip) == sum(w.numel() for w in blip.matcher.model.parameters()) > 1e6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--methods", "naklip"], "did you mean 'naclip'"),
        (["--methods", "naclip,"], "unknown method ''"),
        (["--classes", "some"], "Known: all, present"),
        (["--random", "--methods", "reco"], "unknown method with a random model 'reco'"),
        (["--random", "--vlm", "micro-blip"], "leave the model out"),
        (["--device", "nowhere", "--methods", "naclip"], "device 'nowhere' cannot be used"),
    ],
)
def test_mistakes(words: list[str], expected: str) -> None:
    status = 1 if "--device" in words else 2
    one_error(ovss("bench", "peers", "--images", "1", "--no-memory", *words), status, expected)
