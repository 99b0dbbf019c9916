"""ovsslib in LAVIS's environment: old numpy, old transformers, and yet the same library."""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from ovsslib.errors import OvssError
from ovsslib.pnp.presets import preset
from ovsslib.vlm import find_checkpoint, load_vlm

ROOT = Path(__file__).resolve().parents[2]
CORE = (
    "errors lookup methods paths redact types io.download io.images io.palette metrics.counts "
    "metrics.iou pnp.config pnp.dropout pnp.pipeline pnp.presets pnp.prompt pnp.refine "
    "pnp.resample pnp.result pnp.salience protocols.protocol vlm vlm.blip.matcher vlm.blip.net "
    "vlm.finite vlm.inputs vlm.lavis.backend vlm.lavis.checkpoint vlm.lavis.names "
    "vlm.lavis.tokenizer vlm.matcher vlm.protocol vlm.sizes vlm.state vlm.weights"
)
# Of LAVIS's own list: imported by none of its models.
LEFT_OUT = {
    "contexttimer", "ftfy", "ipython", "opendatasets", "plotly", "pre-commit", "python-magic",
    "scikit-image", "sentencepiece", "streamlit", "wheel",
}  # fmt: skip


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements-lavis.lock").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(one.name): one for one in found}


@pytest.mark.parametrize("name", ["", *CORE.split()])
def test_the_core_imports(name: str) -> None:
    importlib.import_module(".".join(filter(None, ("ovsslib", name))))


def test_these_are_the_old_libraries() -> None:
    assert metadata.version("salesforce-lavis") == "1.0.2"
    assert metadata.version("transformers") == "4.26.1"
    assert np.__version__.startswith("1.26.")


def test_the_public_names_are_there() -> None:
    import ovsslib

    assert all(hasattr(ovsslib, name) for name in ovsslib.__all__)
    assert ovsslib.preset("blip") == preset("blip")


def test_what_is_installed_is_pinned_exactly() -> None:
    for name, pin in pins().items():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is no exact pin"
        if pin.marker is None or pin.marker.evaluate():
            assert pin.specifier.contains(metadata.version(name).partition("+")[0])


def test_the_lock_holds_all_that_its_packages_need() -> None:
    """Nothing but what is left out on purpose, and of that really all."""
    lacking = set()
    for name, pin in pins().items():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                lacking |= {plain(need.name)} - pins().keys()
                if plain(need.name) in pins() and name != "ovsslib":
                    version = metadata.version(need.name).partition("+")[0]
                    assert need.specifier.contains(version), f"{name} needs {need}: {version}"
    assert lacking == LEFT_OUT


def test_a_folder_is_no_file_of_lavis(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"lavis:.*: LAVIS reads its own files only"):
        load_vlm(f"lavis:{tmp_path}")
    with pytest.raises(OvssError, match=r"m\.pth: no such file"):
        find_checkpoint(f"lavis:{tmp_path / 'm.pth'}")
