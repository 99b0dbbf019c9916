"""The benchmarks measure the right thing, and notice a wrong result. Nothing here is timed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ovsslib.bench import case as work_module
from ovsslib.bench import full_graph as everything
from ovsslib.bench.agreement import TOLERANCE, compare
from ovsslib.bench.batch_sizes import more_pictures
from ovsslib.bench.case import Spec, class_names, prepare
from ovsslib.bench.machine import count_flops, matmul_rate
from ovsslib.bench.memory import resident
from ovsslib.bench.random_models import SHAPES, TINY, open_model, random_blip
from ovsslib.bench.salience import memory_of_both, ours
from ovsslib.cli.bench.command import numbers, sizes_of
from ovsslib.cli.main import app
from ovsslib.errors import OvssError
from ovsslib.pnp import dropout
from ovsslib.pnp import salience as steps
from ovsslib.pnp.prompt import build_prompts
from ovsslib.vlm.blip.net import TextAttention
from support.helpers import one_error

# Another input size than the model's, so that position embeddings are interpolated.
SPEC = Spec(
    vlm=TINY,
    image_size=64,
    classes=3,
    rounds=3,
    patches=4,
    layer=2,
    head=2,
    batch=2,
    images=3,
    device="cpu",
)
SMALL = f"--vlm {TINY} --layer 2 --head 2 --rounds 3 --patches 4 --repeat 1 --matmul-size 16"
SMALL += " --device cpu --image-size 64"


def ovss(words: str, *more: object) -> Any:
    return CliRunner().invoke(app, ["bench", *words.split(), *map(str, more)])


def check(spec: Spec) -> Any:
    work = prepare(spec)
    count = work.config.patches_per_round
    found = everything.run(prepare(dataclasses.replace(spec, dtype="float32", packed=False)))
    return compare(found, ours(work, stages=True), count, TOLERANCE[spec.dtype])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"head": 0, "layer": 1, "batch": 3},
        {"classes": 45, "image_size": 48, "rounds": 2},  # prompts beyond the positions
        {"dtype": "bfloat16"},
        {"dtype": "int8"},
    ],
    ids=str,
)
def test_both_ways_find_the_same(change: dict[str, Any]) -> None:
    found = check(dataclasses.replace(SPEC, **change))
    assert found.agree
    assert not found.wrong_patches
    assert found.rounds[0] is not None
    if found.tolerance == TOLERANCE["float32"]:
        assert found.other_patches == 0
        assert found.sums is not None
        assert found.sums < 1e-4


def test_many_classes_take_several_prompts() -> None:
    matcher = open_model(TINY, device="cpu")
    assert len(build_prompts(class_names(45), matcher.tokenize, max_tokens=64)) > 1


def test_the_baseline_keeps_everything() -> None:
    model = random_blip(TINY, torch.float32, torch.device("cpu"))
    whole = everything.Everything(model.model, 159)
    assert all(weight.requires_grad for weight in whole.weights.values())
    stored = dict(model.model.state_dict())
    assert all(w.data_ptr() == stored[name].data_ptr() for name, w in whole.weights.items())
    ids = torch.tensor([[2, 5, 6, 3]])
    looks, slopes = whole.look(
        torch.randn(1, 3, 48, 48), ids, torch.ones_like(ids).bool(), torch.tensor([0])
    )
    assert len(looks) == len(slopes) == 3
    assert all(slope.shape == look.shape for look, slope in zip(looks, slopes, strict=True))
    assert all(slope.abs().max() > 0 for slope in slopes)
    assert looks[1].std() > 1e-4
    assert ids[0, 0] == 2
    assert not any(weight.requires_grad for weight in model.model.parameters())


def test_a_broken_map_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    right = steps.gradcam_map
    monkeypatch.setattr(steps, "gradcam_map", lambda *given: right(*given).roll(1, -1))
    done = ovss(f"salience {SMALL} --no-memory")
    assert done.exit_code == 1
    assert "the maps DO NOT agree" in done.stdout
    assert done.stderr == "error: the maps do not agree with those of the whole graph\n"


def test_broken_dropout_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dropout.choose_patches
    monkeypatch.setattr(
        dropout,
        "choose_patches",
        lambda values, gone, count, **more: right(1 / (1 + values), gone, count, **more),
    )
    found = check(SPEC)
    assert not found.agree
    assert found.rounds[0] is not None
    assert found.rounds[0] < 1e-4
    assert found.rounds[1:] == [None, None]
    assert found.sums is None
    assert found.other_patches == found.wrong_patches == 3


def test_salience_record(tmp_path: Path) -> None:
    done = ovss(f"salience {SMALL} --no-memory --classes 2 --images 2 --json --out", tmp_path)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    (stored,) = tmp_path.iterdir()
    assert stored.name == "salience-blip-tiny-random-float32-cpu.json"
    assert json.loads(stored.read_text()) == record
    settings = record["settings"]
    assert settings.pop("threads") >= 1
    assert settings == {
        "vlm": TINY,
        "image_size": 64,
        "classes": 2,
        "rounds": 3,
        "patches": 4,
        "layer": 2,
        "head": 2,
        "batch": 1,
        "images": 2,
        "compiled": False,
        "repeats": 1,
        "seed": 0,
    }
    assert record["agreement"]["agree"] is True
    times = record["seconds"]
    assert times.keys() == {"everything", "ours"}
    assert record["ratio"] == pytest.approx(times["everything"] / times["ours"])
    assert record["memory"] is None
    assert record["rate"] == pytest.approx(record["flops"] / times["ours"])
    assert record["share"] == pytest.approx(record["rate"] / record["matmul_rate"])
    assert {"git", "packages", "processor", "cpus", "time"} <= record["provenance"].keys()


def test_salience_table() -> None:
    done = ovss(f"salience {SMALL} --no-memory --classes 2")
    assert done.exit_code == 0, done.output
    for words in (
        "64 pixels, 2 classes, 3 rounds, layer 2, head 2",
        "seconds per image",
        "GFLOP (counted by torch.utils.flop_counter)",
        "the maps agree",
    ):
        assert words in done.stdout


def test_flops_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TextAttention, "folds", lambda *_: False)
    work = prepare(dataclasses.replace(SPEC, batch=1, images=1, rounds=2, packed=False))
    shape, config = SHAPES[TINY], work.config
    (prompt,) = build_prompts(work.classes[0], work.matcher.tokenize)
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
    assert count_flops(lambda: ours(work)) == 2 * 2 * (forward + above * back + first + 2 * w)


def test_memory_is_measured_in_other_processes() -> None:
    found = memory_of_both(dataclasses.replace(SPEC, images=1))
    for way in ("everything", "ours"):
        assert found[way]["net"] == found[way]["peak"] - found[way]["start"] > 0
        assert found[way]["start"] > 1 << 20
    assert found["share"] == found["ours"]["net"] / found["everything"]["net"]
    assert resident(peak=True) >= resident(peak=False) > 1 << 20


def test_matmul_rate() -> None:
    assert matmul_rate(torch.float32, torch.device("cpu"), size=32, products=2) > 0


def test_batches_record_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_module, "PICTURE", (40, 30))
    words = f"salience {SMALL} --batches 1,2 --images 3 --dtype bfloat16"
    done = ovss(words, "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "share of the peak" in done.stdout
    record = json.loads((tmp_path / "batches-blip-tiny-random-bfloat16-cpu.json").read_text())
    assert [(row["batch"], row["images"]) for row in record["rows"]] == [(1, 3), (2, 4)]
    for row in record["rows"]:
        assert row["pipeline"] > 0
        share = row["salience"] * record["flops"] / record["matmul_rate"]
        assert row["share"] == pytest.approx(share)
    assert record["provenance"]["dtype"] == "bfloat16"


def test_more_pictures_make_whole_batches() -> None:
    work = more_pictures(prepare(dataclasses.replace(SPEC, images=1)), 4, 10)
    assert [len(pictures) for pictures, _ in work.batches()] == [4, 4, 4]
    assert all(len(names) == 3 for names in work.classes)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("salience --dtype floot32", "did you mean 'float32'"),
        ("salience --image-size 337", "image_size 337 is not a multiple of the 16-pixel patch"),
        ("salience --device nowhere", "device 'nowhere' cannot be used"),
        (f"salience --vlm {TINY} --layer 9", "layer 9 does not exist"),
        (f"salience --vlm {TINY} --layer 3 --head 1 --matmul-size 16", "0 everywhere"),
        ("salience --vlm blip-huge", "unknown vision-language model"),
        ("salience --batches 1,zero", "--batches '1,zero'"),
        ("salience --batches 0", "--batches '0'"),
        ("refine --size 500", "--size '500'"),
        ("refine --classes 0", "--classes '0'"),
        ("refine --workers -1", "--workers '-1'"),
    ],
)
def test_faults(words: str, expected: str) -> None:
    one_error(ovss(words), 2, expected)


def test_batch_0() -> None:
    done = ovss("salience --batch 0")
    assert done.exit_code == 2
    assert "--batch" in done.stderr
    with pytest.raises(OvssError, match="batch must be 1 or more, got 0"):
        Spec(batch=0)


@pytest.mark.parametrize("command", ["salience", "refine"])
def test_help_has_examples(command: str) -> None:
    done = ovss(f"{command} --help")
    assert done.exit_code == 0
    assert f"\n    ovss bench {command} --" in done.stdout


def test_numbers_and_sizes() -> None:
    assert numbers("", "--workers", least=0) == []
    assert numbers("0,2", "--workers", least=0) == [0, 2]
    assert sizes_of("5x4,10x8") == [(5, 4), (10, 8)]
    for text in ("", "5x", "0x4", "5x4,"):
        with pytest.raises(OvssError, match="--size"):
            sizes_of(text)


def test_only_blip_can_be_compared() -> None:
    work = prepare(SPEC)
    work.matcher.model = None  # type: ignore[attr-defined]
    with pytest.raises(OvssError, match="no BLIP"):
        everything.run(work)
