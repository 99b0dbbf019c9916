"""What a stored shard stands for: everything that changes a number changes the key."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate import fingerprint
from ovsslib.evaluate import run as benchmark
from ovsslib.evaluate.fingerprint import code_digest, folder, model_digest
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.methods import BESIDE, METHODS
from ovsslib.paths import PACKAGE
from support.helpers import make_tiny_blip, write_voc
from support.tiny_dino import make_tiny_dino

QUICK = {"layer": 1, "head": None, "rounds": 2, "patches_per_round": 5, "crf": False}


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_blip(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> Execution:
    return Execution(batch=2, device="cpu", root=write_voc(tmp_path_factory.mktemp("data"), 9))


def test_the_key_holds_all_that_changes_a_number(
    vlm: str, how: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = RunSpec(vlm=vlm, config=QUICK)
    others = [
        RunSpec(vlm=vlm, config={**QUICK, "blur": 0.2}),
        RunSpec(vlm=vlm, config=QUICK, protocol="pnp"),
        RunSpec(vlm=vlm, config=QUICK, filter="all"),
        RunSpec(vlm=vlm, config=QUICK, dtype="bfloat16"),
        RunSpec(vlm=vlm, config=QUICK, limit=5),
    ]
    places = [folder(tmp_path, s, benchmark.open_task(s, how), 4) for s in (base, *others)]
    work = benchmark.open_task(base, how)
    places.append(folder(tmp_path, base, work, 7))
    assert folder(tmp_path, base, work, 4) == places[0]
    assert places[0].name.startswith("pnp-ovss_tiny_diorama-val_")
    monkeypatch.setattr(fingerprint, "code_digest", lambda: "other code")
    places.append(folder(tmp_path, base, work, 4))
    file = tmp_path / "mine.json"
    for layer in (1, 2):
        file.write_text(json.dumps({"config": {"layer": layer}}))
        places.append(folder(tmp_path, RunSpec(vlm=vlm, preset=str(file)), work, 4))
    copy = make_tiny_blip(tmp_path / "copy" / "tiny", seed=1)
    places.append(folder(tmp_path, RunSpec(vlm=str(copy), config=QUICK), work, 4))
    assert len(set(places)) == len(places)


def test_what_a_method_reads_beside_its_model_counts(tmp_path: Path) -> None:
    def place(method: str, **config: object) -> Path:
        spec = RunSpec(method=method, config=config)
        return folder(tmp_path, spec, benchmark.open_task(spec, Execution()), 4)

    dinos = [str(make_tiny_dino(tmp_path / name / "dino", seed=i)) for i, name in enumerate("ab")]
    first, second = (place("proxyclip", dino=each) for each in dinos)
    assert first != second
    (Path(dinos[0]) / "model.safetensors").write_bytes(b"retrained")
    assert place("proxyclip", dino=dinos[0]) != first
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "one.png").write_bytes(b"1")
    before = place("reco", archive=str(archive))
    assert place("reco", archive=str(archive)) == before != place("reco")
    (archive / "two.png").write_bytes(b"2")
    assert place("reco", archive=str(archive)) != before


def test_every_setting_that_names_files_is_known() -> None:
    for method, named in BESIDE.items():
        settings = importlib.import_module(METHODS[method].split(":")[0])
        (kind,) = (
            each
            for each in vars(settings).values()
            if isinstance(each, type) and getattr(each, "name", None) == method
        )
        for setting, default in named.items():
            assert getattr(kind.settings(), setting) == default


def test_large_files_are_known_by_their_ends(tmp_path: Path) -> None:
    def digest(name: str, last: bytes) -> str:
        place = make_tiny_blip(tmp_path / name)
        with open(place / "large.bin", "wb") as out:
            out.truncate(65 << 20)
            out.write(last)
        return model_digest(str(place))

    assert digest("a", b"1") == digest("b", b"1") != digest("c", b"2")


def test_the_clip_inside_a_trained_system_counts(tmp_path: Path) -> None:
    clip = tmp_path / "clip" / "weights"
    clip.parent.mkdir()
    (tmp_path / "config.json").write_text("{}")
    found = set()
    for content in ("a", "b"):
        clip.write_text(content)
        model_digest.cache_clear()
        found.add(model_digest(str(tmp_path)))
    assert len(found) == 2


def test_weights_of_open_clip_stand_for_themselves(tmp_path: Path) -> None:
    published = model_digest("ViT-B-16-quickgelu:openai")
    file = tmp_path / "own.pt"
    file.write_bytes(b"weights")
    assert model_digest(f"ViT-B-16-quickgelu:{file}") != published
    with pytest.raises(OvssError, match="unknown vision-language model"):
        model_digest("ViT-B-15:openai")


def test_code_counts_but_what_has_no_part_in_a_figure() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert packages >= fingerprint._NO_PART, "a name that is gone hides nothing"
    assert {"pnp", "vlm", "protocols", "metrics", "evaluate"} & fingerprint._NO_PART == set()
    assert len(code_digest()) == 64
