"""A method under many vocabularies: the same figures as separate runs, broken off, continued."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.datasets.base import Dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate import comparison, stress
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.oracles import ROWS
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.evaluate.stress import count, measure, run
from ovsslib.evaluate.stress_cases import Stress, vocabularies
from ovsslib.evaluate.stress_figures import read_counts
from ovsslib.evaluate.task import Sample, Task, make_task
from ovsslib.metrics.counts import COUNT_NAMES, Counts
from ovsslib.paths import data
from ovsslib.peers.maskclip import MaskClip
from ovsslib.protocols.perturb import read_words, shipped_words
from ovsslib.protocols.protocol import get_protocol
from ovsslib.protocols.vocabulary import Vocabulary
from support.helpers import make_tiny_blip, write_voc

WORDS = read_words(shipped_words("diorama"))
SMALL = Stress(("synonym", "near", "clutter"), shares=(1.0,), counts=(3,), draws=2)
SPEC = RunSpec(vlm="micro-clip", method="maskclip", split="tune", filter="all", limit=3)
HOW = Execution(batch=2, device="cpu")


def task_for(data: Dataset, **more: object) -> Task:
    return make_task(data, limit=3, **more)


def same(one: Counts, other: Counts, labels: int) -> bool:
    return all(
        np.array_equal(getattr(one, part)[:, :labels], getattr(other, part)[:, :labels])
        for part in COUNT_NAMES
    )


@pytest.fixture(scope="module")
def clip() -> MaskClip:
    return ovsslib.load("maskclip", vlm="micro-clip", device="cpu")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return measure(SPEC, SMALL, tmp_path_factory.mktemp("out"), HOW)[0]


def names(*words: str, **more: list[str]) -> Vocabulary:
    return Vocabulary.from_dict("own", {**more, **({"distractors": list(words)} if words else {})})


@pytest.mark.parametrize("filter", ["oracle", "all"])
def test_each_vocabulary_counts_as_a_run_with_it(clip: MaskClip, filter: str) -> None:
    data = load_dataset("diorama", None, "tune")
    given = {
        "plain": names(),
        "renamed": names(bus=["coach"], sky=["heavens", "air"]),
        "noise": names("spoon", "castle", grass=["lawn"]),
    }
    ids, found = run(clip, task_for(data, filter=filter), given, HOW)
    assert ids == data.ids[:3]
    for name, made in given.items():
        record = {key: list(words) for key, words in made.names}
        record |= {"distractors": list(made.distractors)} if made.distractors else {}
        task = task_for(data, filter=filter, vocabulary={"name": "own", "names": record})
        alone = benchmark.run(clip, task, HOW)
        assert same(found[name], alone.counts, len(data.classes) + 1)
    assert found["noise"].truth.shape[1] == len(data.classes) + 3
    assert found.keys() == {*given, *ROWS}


def test_pnp_ovss_follows_the_protocol(tmp_path: Path) -> None:
    data = load_dataset("diorama", write_voc(tmp_path / "voc", 3))
    model = ovsslib.load(
        "pnp-ovss", vlm=str(make_tiny_blip(tmp_path / "tiny")), preset="micro-blip",
        layer=1, head=1, rounds=2, crf=False, device="cpu",
    )  # fmt: skip
    given = {"plain": names(), "other": names("spoon", car=["auto"])}
    for protocol in ("pnp", "pnp-fixed"):
        _, found = run(model, task_for(data, protocol=protocol), given, HOW)
        for name, record in (("plain", {}), ("other", {"car": ["auto"], "distractors": ["spoon"]})):
            vocabulary = {"name": "own", "names": record}
            task = task_for(data, protocol=protocol, vocabulary=vocabulary)
            alone = benchmark.run(model, task, HOW)
            assert same(found[name], alone.counts, len(data.classes) + 1)
            assert stress._config(model, task.protocol, data).hash() == alone.config_hash


def test_features_are_computed_once_and_vocabularies_alike_run_once(
    clip: MaskClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, asked = [], []
    compute, segment = MaskClip.features, stress.answers
    monkeypatch.setattr(
        MaskClip,
        "features",
        lambda self, pixels: looks.append(len(pixels)) or compute(self, pixels),
    )
    monkeypatch.setattr(
        stress, "answers", lambda *given: asked.append(given[1].vocabulary.name) or segment(*given)
    )
    given = {"one": names("spoon"), "two": names(), "again": names("spoon")}
    _, found = run(clip, task_for(load_dataset("diorama", None, "tune")), given, HOW)
    assert looks == [2, 1]
    assert len(asked) == 2 * 2
    assert found["one"] is found["again"]


def test_counting_by_loops() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, 2, 255], (7, 8)).astype(np.uint8)
    labels = rng.integers(-1, 5, truth.shape)
    protocol = dataclasses.replace(get_protocol("pnp-fixed"), vocabulary=names("spoon", "fork"))
    # A name of background, two of class 2, and the distractors.
    looked_for, classes = (0, 2, 2, 0, 0), ("wall", "cat", "kitty", "Spoon", "fork")
    found = count(protocol, labels, Sample("x", None, truth, looked_for, classes), 2)
    expected = np.zeros((3, 5), int)
    for true, label in zip(truth.ravel(), labels.ravel(), strict=True):
        if true == 255:
            continue
        own = {-1: 0, 0: 0, 1: 2, 2: 2, 3: 3, 4: 4}[int(label)]
        as_label = 0 if own > 2 else own
        expected[0, true] += as_label == true
        expected[1, as_label] += 1
        expected[1, own] += own > 2
        expected[2, true] += 1
    assert [getattr(found, part)[0].tolist() for part in COUNT_NAMES] == expected.tolist()


def test_void_that_is_background_counts_so() -> None:
    truth = np.array([[255, 1]], np.uint8)
    protocol = get_protocol("pnp")
    found = count(protocol, np.array([[0, 0]]), Sample("x", None, truth, (1,), ("cat",)), 1)
    assert found.truth.tolist() == [[1, 1]]
    assert found.predicted.tolist() == [[0, 2]]


def test_the_file_holds_figures_of_its_counts(stored: Path) -> None:
    record = comparison.load(stored)
    assert stored.stem == record["name"] == "maskclip_micro-clip_diorama-tune_all_3"
    ids, found = read_counts(stored)
    assert len(ids) == record["images"] == 3
    assert found.keys() == {*record["runs"], *ROWS}
    assert list(record["runs"]) == [
        "plain", "synonym 1 #0", "synonym 1 #1", "near 3 #0", "near 3 #1", "clutter"
    ]  # fmt: skip
    for name, one in record["runs"].items():
        counts = found[name]
        union = (counts.predicted + counts.truth - counts.intersection).sum(0)[1:]
        shares = counts.intersection.sum(0)[1:] / np.where(union > 0, union, 1)
        assert one["count"]["value"] == pytest.approx(shares[union > 0].mean())
        true = counts.truth.sum(0)[1:] > 0
        assert one["drop"]["value"] == pytest.approx(shares[true].mean())
        assert one["names"] == 20 + {"near": 3, "clutter": 5}.get(one["condition"], 0)
    assert record["runs"]["near 3 #0"]["vocabulary"]["distractors"] == 3
    assert record["words"]["name"] == "diorama"
    assert record["stress"]["seed"] == 0
    assert {"git", "packages", "time"} <= record["provenance"].keys()
    assert {path.suffix for path in stored.parent.iterdir()} == {".parquet", ".json"}


def test_continues_where_it_was_broken_off(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = stress.run, []

    def breaks(*given: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(sorted(given[2]))
        return real(*given)

    monkeypatch.setattr(stress, "run", breaks)
    with pytest.raises(KeyboardInterrupt):
        measure(SPEC, SMALL, tmp_path, HOW)
    (store,) = tmp_path.iterdir()
    assert sorted(path.name.split("_")[0] for path in store.iterdir()) == ["plain", "synonym"]
    next(store.glob("synonym*")).write_text("damaged")
    again = []
    monkeypatch.setattr(
        stress, "run", lambda *given: again.append(next(iter(given[2]))) or real(*given)
    )
    path, record = measure(SPEC, SMALL, tmp_path, HOW)
    assert again == ["synonym 1 #0", "near 3 #0", "clutter"]
    before = comparison.load(stored)
    assert comparison.load(path)["curves"] == before["curves"]
    assert record["oracles"] == before["oracles"]
    assert not store.exists()


def test_other_names_are_other_parts(tmp_path: Path) -> None:
    task = task_for(load_dataset("diorama", None, "tune"))
    made = [
        vocabularies(dataclasses.replace(SMALL, seed=seed), task, WORDS)["near"] for seed in (0, 1)
    ]
    parts = [stress._part(tmp_path, "near", group, SPEC, task, HOW).name for group in made]
    assert parts[0] != parts[1]
    assert parts[0] == stress._part(tmp_path, "near", made[0], SPEC, task, HOW).name


def test_an_image_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    root = write_voc(tmp_path / "voc", 3)
    (root / "JPEGImages" / "img_0001.jpg").write_text("")
    how = dataclasses.replace(HOW, root=root)
    spec = dataclasses.replace(SPEC, split="val")
    few = Stress(("clutter",))
    _, record = measure(spec, few, tmp_path / "out", how)
    assert list(record["failed"]) == ["img_0001"]
    assert record["images"] == 2
    for name in ("img_0000", "img_0002"):
        (root / "JPEGImages" / f"{name}.jpg").write_text("")
    with pytest.raises(OvssError, match="no image of diorama could be read: "):
        measure(spec, few, tmp_path / "out", how)


def test_what_is_refused(tmp_path: Path) -> None:
    for wrong, message in (
        (Stress(("synonims",)), "condition for diorama 'synonims'; did you mean 'synonym'"),
        (Stress(("source",)), "condition for diorama 'source'"),
        (Stress(("near",), counts=(1000,)), "1000 distractors asked for, 241 words given"),
    ):
        with pytest.raises(OvssError, match=message):
            measure(SPEC, wrong, tmp_path, HOW)
    with pytest.raises(OvssError, match="leave the run's own out"):
        measure(dataclasses.replace(SPEC, vocabulary={"name": "x"}), SMALL, tmp_path, HOW)
    with pytest.raises(OvssError, match="holds no lists of words"):
        measure(SPEC, SMALL, tmp_path, HOW, words=tmp_path)


def test_shipped_results_are_of_the_shipped_models() -> None:
    """After new weights: the commands in the book, "After new weights"."""
    records = [comparison.load(path) for path in data("results", "vocabulary").glob("*.json")]
    known = {vlm: ovsslib.load(method, vlm=vlm, device="cpu") for method, vlm in MODELS.items()}
    assert {(r["method"], r["filter"]) for r in records} == {
        (method, filter)
        for method in ("pnp-ovss", "maskclip", "naclip", "sclip")
        for filter in ("oracle", "all")
    }
    for record in records:
        model = known[record["vlm"]]
        assert record["weights"] == comparison.weights_digest(model.matcher)
        assert record["failed"] == {}


MODELS = {"pnp-ovss": "micro-blip", "maskclip": "micro-clip"}
