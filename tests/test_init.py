"""The public names, and how little it takes to import them."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ovsslib
from ovsslib.datasets import load_dataset
from ovsslib.errors import OvssError
from ovsslib.evaluate.run import run
from ovsslib.evaluate.spec import RunSpec
from ovsslib.methods import load
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import preset
from ovsslib.pnp.result import Segmentation, Segmenter
from ovsslib.vlm import load_vlm

PUBLIC = {
    "OvssError": OvssError,
    "PnPConfig": PnPConfig,
    "PnPOVSS": PnPOVSS,
    "RunSpec": RunSpec,
    "Segmentation": Segmentation,
    "Segmenter": Segmenter,
    "load": load,
    "load_dataset": load_dataset,
    "load_vlm": load_vlm,
    "preset": preset,
    "run": run,
}


def test_public_names_are_the_objects_of_their_modules() -> None:
    assert set(ovsslib.__all__) == set(dir(ovsslib)) == {*PUBLIC, "__version__"}
    for name, target in PUBLIC.items():
        assert getattr(ovsslib, name) is target


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segmnt'"):
        _ = ovsslib.segmnt


def _imported(code: str) -> set[str]:
    """Top-level modules that a new Python has imported after running the code."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_imports_nothing_but_itself() -> None:
    new = _imported("import ovsslib") - _imported("pass")
    assert new <= set(sys.stdlib_module_names) | {"ovsslib"}


def test_settings_come_without_torch_and_the_method_without_transformers() -> None:
    heavy = {"transformers", "scipy", "matplotlib", "pandas"}
    assert not {"torch", *heavy} & _imported("import ovsslib; ovsslib.preset('blip')")
    assert not heavy & _imported("import ovsslib; ovsslib.PnPOVSS")
