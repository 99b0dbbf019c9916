"""Models of the hub: what is read, what is refused, and that every such method runs whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import ovsslib
from ovsslib.cli.main import app
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.fingerprint import model_digest
from ovsslib.evaluate.run import model_label
from ovsslib.peers import hub_names
from ovsslib.peers.clipseg import ClipSegModel
from ovsslib.protocols.adapter import windowed
from ovsslib.protocols.protocol import get_protocol
from support import tiny_hub
from support.helpers import one_error
from support.tiny_hub import NAMES, make_clipseg, some_images

MAKERS: dict[str, tuple[Callable[[Path], Path], ...]] = {
    "groupvit": (tiny_hub.make_groupvit,),
    "tipsv2": (tiny_hub.make_tipsv2,),
    "siglip2": (tiny_hub.make_siglip,),
    "clipseg": (tiny_hub.make_clipseg,),
    "owlv2-sam2": (tiny_hub.make_owlv2, tiny_hub.make_sam2),
    "grounding-dino-sam2": (tiny_hub.make_grounding_dino, tiny_hub.make_sam2),
    "sam3": (tiny_hub.make_sam3,),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Method -> the name of its tiny model or models."""
    place = tmp_path_factory.mktemp("hub")
    made: dict[Callable[[Path], Path], str] = {}
    for makers in MAKERS.values():
        for maker in makers:
            made[maker] = made.get(maker) or str(maker(place / maker.__name__[5:]))
    return {name: "+".join(made[maker] for maker in makers) for name, makers in MAKERS.items()}


@pytest.fixture
def folder(models: dict[str, str], tmp_path: Path) -> Path:
    """A CLIPSeg that may be spoilt."""
    return shutil.copytree(models["clipseg"], tmp_path / "mine")


@pytest.mark.parametrize("method", MAKERS)
def test_half_precision_and_a_protocol(models: dict[str, str], method: str) -> None:
    data = load_dataset("diorama", None, "tune")
    given = {"vlm": models[method], "device": "cpu", "dtype": "bfloat16"}
    few = {"most": 3} if "sam2" in method else {}
    model = ovsslib.load(method, **given, **few)
    assert model_label(model.matcher).endswith("@bfloat16")
    matcher = model.matcher
    for part in (matcher.detector, matcher.sam) if "sam2" in method else (matcher,):
        assert not part.model.training
        assert not any(p.requires_grad for p in part.model.parameters())
        assert part.model.dtype == torch.bfloat16
    found = model.segment(some_images()[0], NAMES)
    assert found.planes.dtype == np.float32
    assert np.isfinite(found.planes).all()
    shown = windowed(model, get_protocol("sclip").resolved("diorama"), data)
    seen = shown.segment(some_images()[2].resize((60, 20)), ["sky", "grass"])
    assert seen.labels.shape == (20, 60)


@pytest.mark.parametrize("method", ["groupvit", "owlv2-sam2"])
def test_a_run_names_its_models(models: dict[str, str], method: str, tmp_path: Path) -> None:
    words = ["run", "--method", method, "--vlm", models[method], "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--limit", "1", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    names = "+".join(Path(one).name for one in models[method].split("+"))
    assert f"{method} with {names} on diorama val (1 of 1 images" in done.stdout
    assert len(list(tmp_path.glob(f"{method}_{names}_*.json"))) == 1
    assert len(list((tmp_path / "shards").glob(f"{method}_{names}_*"))) == 1


def test_a_digest_is_of_all_models(models: dict[str, str], tmp_path: Path) -> None:
    detector, sam = models["owlv2-sam2"].split("+")
    other = shutil.copytree(sam, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    names = [detector, sam, f"{detector}+{sam}", f"{sam}+{detector}", f"{detector}+{other}"]
    assert len({model_digest(name) for name in names}) == len(names)


def spoil_config(place: Path) -> None:
    (place / "config.json").write_text("{")


def another_type(place: Path) -> None:
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "model_type": "clip"}))


def no_config(place: Path) -> None:
    (place / "config.json").unlink()


def cut_weights(place: Path) -> None:
    whole = (place / "model.safetensors").read_bytes()
    (place / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def change(place: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(place / "model.safetensors")
    edit(weights)
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})


def lose_a_weight(place: Path) -> None:
    change(place, lambda weights: weights.pop("decoder.film_mul.weight"))


def one_nan(place: Path) -> None:
    change(place, lambda weights: weights["decoder.film_mul.weight"].fill_(torch.nan))


def no_pictures(place: Path) -> None:
    (place / "processor_config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (spoil_config, r"config.json is not a model's configuration; fetch it again"),
        (another_type, r"mine: a model of type 'clip', where CLIPSeg is needed \(clipseg\); give"),
        (no_config, r"mine holds no config.json; give a folder made by save_pretrained"),
        (cut_weights, r"mine: CLIPSeg cannot be loaded from it \(.*\); fetch the folder again"),
        (lose_a_weight, r"1 parts are missing, such as decoder.film_mul.weight\); fetch"),
        (one_nan, r"the weight decoder.film_mul.weight holds NaN or infinite values; fetch"),
        (no_pictures, r"mine: CLIPSeg cannot be loaded from it \(.*\); fetch the folder again"),
    ],
)
def test_damaged_files(folder: Path, damage: Callable[[Path], None], words: str) -> None:
    damage(folder)
    with pytest.raises(OvssError, match=words) as caught:
        ClipSegModel(str(folder), "cpu")
    assert "\n" not in str(caught.value)


def test_damage_of_a_fetched_model_says_how_to_fetch_it_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_weights(folder)
    monkeypatch.setattr(hub_names, "hub_folder", lambda name, download: folder)
    with pytest.raises(OvssError, match=r"with `hf download --force-download owner/clipseg`"):
        ovsslib.load("clipseg", vlm="owner/clipseg")


def test_settings_that_are_refused(models: dict[str, str]) -> None:
    with pytest.raises(OvssError, match="clipseg has no presets"):
        ovsslib.load("clipseg", preset="blip")
    with pytest.raises(OvssError, match="unknown setting 'treshold'; did you mean 'threshold'"):
        ovsslib.load("clipseg", treshold=0.2)
    with pytest.raises(OvssError, match="unknown dtype 'float8'"):
        ovsslib.load("clipseg", vlm=models["clipseg"], dtype="float8")
    with pytest.raises(OvssError, match="vlm must be a name, a folder or a loaded model, got 3"):
        ovsslib.load("clipseg", vlm=3)
    words = ["run", "--method", "sam3", "--limit", "1"]
    one_error(CliRunner().invoke(app, words), 2, "hf auth login")


def test_an_older_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipSegModel, "classes", {"clipseg": "ClipSegOfTomorrow"})
    with pytest.raises(OvssError, match=r"CLIPSeg needs a newer transformers than 5.*install -U"):
        ClipSegModel(str(folder), "cpu")


def test_a_loaded_model_serves_several_methods(models: dict[str, str]) -> None:
    first = ovsslib.load("clipseg", vlm=models["clipseg"], device="cpu")
    second = ovsslib.load("clipseg", vlm=first.matcher, threshold=0.1)
    assert second.matcher is first.matcher
    assert first.matcher.name == "clipseg"
    assert make_clipseg.__name__.endswith(first.matcher.name)
