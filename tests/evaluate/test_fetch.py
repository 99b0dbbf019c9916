"""`ovss run --download`: models come from a hub once, before any worker needs them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import open_clip
import pytest

from ovsslib.errors import OvssError
from ovsslib.evaluate.fetch import find_models
from ovsslib.evaluate.run import run_many
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.paths import data
from support.helpers import make_tiny_blip, one_error, ovss, write_voc
from support.hub_server import HubServer, hub
from support.tiny_dino import make_tiny_dino
from support.towers import make_hub_clip

Hub = Callable[..., AbstractContextManager[HubServer]]
SMALL = ["--set", "layer=1", "--set", "head=null", "--set", "rounds=1", "--set", "crf=false"]
MICRO = data("checkpoints", "micro-clip")


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Serves folders by hub id; outside of its block there is only the cache."""
    cache = tmp_path / "cache"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return lambda **folders: hub({f"owner/{k}": v for k, v in folders.items()}, cache, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "data", 4)


def metrics(done: object) -> object:
    assert done.exit_code == 0, done.output  # type: ignore[attr-defined]
    return json.loads(done.stdout)["metrics"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", [["--workers", 2], ["--workers", 1, "--dask", "local"]], ids=len)
def test_workers_find_what_was_fetched_before(
    serve: Hub, root: Path, tmp_path: Path, engine: list[object]
) -> None:
    model, asked = make_tiny_blip(tmp_path / "model"), make_tiny_blip(tmp_path / "asks", seed=1)
    run = ["run", "--root", root, "--device", "cpu", "--shard-size", 2, "--json", *SMALL, "--out"]
    named = ["--vlm", "owner/model", "--filter", "vlm:owner/asks", "--filter-set", "threshold=0"]
    one_error(ovss(*run, tmp_path / "none", *named), 2, "hf download owner/asks", "--download")
    with serve(model=model, asks=asked) as server:
        found = metrics(ovss(*run, tmp_path / "fetched", *named, *engine, "--download"))
    files = [
        f"owner/{path.parent.name}/{path.name}" for f in (model, asked) for path in f.iterdir()
    ]
    assert sorted(server.sent) == sorted(files), "each file once, whoever computes"
    assert metrics(ovss(*run, tmp_path / "cached", *named)) == found
    named[1], named[3] = model, f"vlm:{asked}"
    assert metrics(ovss(*run, tmp_path / "folders", *named)) == found


def test_weights_that_open_clip_knows_by_name(
    serve: Hub, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = json.loads((MICRO / "open_clip_config.json").read_text())
    network = settings["model_cfg"]
    network["text_cfg"]["hf_tokenizer_name"] = "owner/words"
    prepared = {**settings["preprocess_cfg"], "mean": (0.4, 0.5, 0.6), "hf_hub": "owner/micro/"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Micro-Test", network)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Micro-Test", {"mine": prepared})
    name = "Micro-Test:mine"
    run = ["run", "--root", root, "--device", "cpu", "--json", "--method", "maskclip"]
    run += ["--vlm", name, "--filter", f"clip:{name}", "--out"]
    one_error(ovss(*run, tmp_path / "none"), 2, name, "ovss run, ovss tune: --download")
    with serve(micro=MICRO, words=MICRO) as server:
        found = metrics(ovss(*run, tmp_path / "fetched", "--download"))
    assert server.sent.count("owner/micro/open_clip_model.safetensors") == 1
    assert "owner/words/tokenizer.json" in server.sent
    assert metrics(ovss(*run, tmp_path / "cached")) == found
    # The same weights, prepared as they are known to be, in a folder.
    folder = shutil.copytree(MICRO, tmp_path / "mine")
    known = {**settings, "preprocess_cfg": {**settings["preprocess_cfg"], "mean": (0.4, 0.5, 0.6)}}
    (folder / "open_clip_config.json").write_text(json.dumps(known))
    run[run.index(name)], run[run.index(f"clip:{name}")] = folder, f"clip:{folder}"
    assert metrics(ovss(*run, tmp_path / "folder")) == found


def test_a_clip_and_a_dino_of_the_hub(serve: Hub, root: Path, tmp_path: Path) -> None:
    run = ["run", "--method", "proxyclip", "--vlm", "owner/clip", "--set", "dino=owner/dino"]
    run += ["--root", root, "--device", "cpu", "--json", "--out"]
    with serve(clip=make_hub_clip(tmp_path / "clip")) as server:
        done = ovss(*run, tmp_path / "half", "--download")
        one_error(done, 2, "DINO model 'owner/dino' is not on this machine: the download failed")
        server.folders["owner/dino"] = make_tiny_dino(tmp_path / "dino")
        found = metrics(ovss(*run, tmp_path / "fetched", "--download"))
    assert len(server.sent) == len(set(server.sent))
    assert metrics(ovss(*run, tmp_path / "cached")) == found


def test_a_method_s_second_model(serve: Hub, tmp_path: Path) -> None:
    """What it adds to a name that is given alone."""
    model = make_tiny_blip(tmp_path / "model")
    with serve(owl=model) as server:
        spec = RunSpec(method="owlv2-sam2", vlm="owner/owl")
        with pytest.raises(OvssError, match=r"'facebook/sam2.1-hiera-tiny' is .* download failed"):
            find_models(spec, download=True)
        server.folders["facebook/sam2.1-hiera-tiny"] = model
        find_models(spec, download=True)
    assert "facebook/sam2.1-hiera-tiny/model.safetensors" in server.sent
    find_models(spec)  # all is here


def test_runs_in_one_piece(serve: Hub, root: Path, tmp_path: Path) -> None:
    config = {"layer": 1, "head": None, "rounds": 1, "crf": False}
    spec = RunSpec(vlm="owner/model", filter="vlm:owner/model", config=config)
    with serve(model=make_tiny_blip(tmp_path / "model")) as server:
        run_many({"run": spec}, Execution(device="cpu", root=root, download=True))
    assert len(server.sent) == len(set(server.sent)) > 2
    run_many({"run": spec}, Execution(device="cpu", root=root))
