"""The wheel: built, installed outside the checkout, and used there without any extra.

The environment it is installed into is new and holds the wheel alone. The core's dependencies are
borrowed from this environment; importing anything that only an extra asks for fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from ovsslib.cli.doctor import SHIPPED
from support.helpers import ROOT

MEGABYTE = 1 << 20
# What only the extras bring, by the name it is imported by.
EXTRAS = {
    "beautifulsoup4": "bs4", "tabulate": "tabulate",
    "dask-jobqueue": "dask_jobqueue", "dask": "dask", "openai": "openai", "optuna": "optuna",
    "pycocotools": "pycocotools", "seaborn": "seaborn", "ipywidgets": "ipywidgets",
    "jupyter-book": "jupyter_book", "jupyterlab": "jupyterlab", "nbclient": "nbclient",
    "nbformat": "nbformat", "papermill": "papermill", "hypothesis": "hypothesis", "mypy": "mypy",
    "nbstripout": "nbstripout", "pytest": "pytest", "scikit-image": "skimage",
    "onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript",
    "playwright": "playwright", "torchmetrics": "torchmetrics",
    "axe-playwright-python": "axe_playwright_python", "latex2mathml": "latex2mathml",
}  # fmt: skip
BLOCKER = f"""
import sys
from importlib.machinery import ModuleSpec
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS.values())!r}:
            return ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {{spec.name!r}} (an extra)", name=spec.name)
    def exec_module(self, module):
        raise NotImplementedError
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    (path,) = folder.glob("ovsslib-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of a new environment with the wheel in it."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    # A folder named by a .pth file is searched, but its own .pth files are not read: this checkout,
    # installed as editable, stays out of sight.
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (site / "sitecustomize.py").write_text(BLOCKER)
    return home / "bin"


def run(installed: Path, folder: Path, *command: object) -> str:
    """Standard output of a command of the new environment, run in an empty folder."""
    kept = {"PATH", "HOME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    words = [str(installed / str(command[0])), *map(str, command[1:])]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_small_and_carries_what_works_without_a_checkout(wheel: Path) -> None:
    assert wheel.stat().st_size < 30 * MEGABYTE
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert set(SHIPPED) == {path.name for path in (ROOT / "data" / "checkpoints").iterdir()}
    for model in SHIPPED:
        assert any(n.startswith(f"ovsslib/_data/checkpoints/{model}/") for n in names)
    for split in ("val", "tune"):
        assert f"ovsslib/_data/diorama/ImageSets/Segmentation/{split}.txt" in names
    assert {"ovsslib/_data/paper/pnp_ovss.csv", "ovsslib/_data/expected/diorama.json"} <= names
    assert "ovsslib/vocab/voc20.txt" in names
    assert not any(name.startswith(("tests/", "data/", "notebooks/")) for name in names)


def test_its_metadata_are_ready_for_an_index(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text().strip()
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == {"full", "book", "dev", "export", "train"}


def test_every_extra_is_kept_away() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {name for extra in project["optional-dependencies"].values() for name in extra}
    plain = {re.split(r"[\[=<>]", name)[0] for name in asked}
    # Tools and stubs are not imported, and PyYAML is a dependency of the core's dependencies.
    tools = {"pandas-stubs", "pytest-cov", "pytest-xdist", "pyyaml", "ruff", "types-tqdm"}
    assert plain - tools == EXTRAS.keys()


def test_the_import_is_light(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, ovsslib; heavy = {'numpy', 'torch', 'PIL', 'pandas'} & {*sys.modules}; "
        "print(ovsslib.__file__, sorted(heavy))"
    )
    file, _, heavy = run(installed, tmp_path, "python", "-c", code).strip().partition(" ")
    assert Path(file).is_relative_to(installed.parent)
    assert heavy == "[]"


def test_the_library_segments(installed: Path, tmp_path: Path) -> None:
    code = (
        "import ovsslib; from ovsslib.paths import data; "
        "photo = sorted(data('diorama', 'JPEGImages').iterdir())[0]; "
        "found = ovsslib.load('pnp-ovss').segment(photo, ['sky', 'grass', 'tree']); "
        "print(photo, *found.labels.shape, found.labels.max())"
    )
    photo, height, width, last = run(installed, tmp_path, "python", "-c", code).split()
    assert (int(height) > 50, int(width) > 50) == (True, True)
    assert 0 <= int(last) <= 2
    run(installed, tmp_path, "ovss", "segment", photo, "-c", "sky, grass, tree", "--out", "out")
    assert {path.suffix for path in (tmp_path / "out").iterdir()} >= {".png", ".json"}


def test_the_other_commands(installed: Path, tmp_path: Path) -> None:
    assert "mIoU" in run(installed, tmp_path, "ovss", "run", "--limit", 5, "--out", "results")
    assert "PnP-OVSS" in run(installed, tmp_path, "ovss", "table")
    assert "micro-blip" in run(installed, tmp_path, "ovss", "table", "results")
    assert "micro-blip" in run(installed, tmp_path, "ovss", "doctor")


@pytest.mark.slow
def test_the_figures_are_those_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    lines = run(installed, tmp_path, "ovss", "regress").splitlines()
    assert len(lines) > 20
    assert all(line.endswith(" ok") for line in lines if " diorama" in line or "miou" in line)
