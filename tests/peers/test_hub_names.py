"""Models that are not here, and several in one name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ovsslib
from ovsslib.errors import OvssError
from ovsslib.evaluate.fingerprint import model_digest
from ovsslib.peers import hub_names
from ovsslib.peers.hub_names import find, several


def test_several_names_in_one(tmp_path: Path) -> None:
    plus = tmp_path / "a+b"
    assert several(str(plus)) == (str(tmp_path / "a"), "b")
    plus.mkdir()
    assert several(str(plus)) == (str(plus),)
    assert several("https://host/a+b.pth#sha256=0")[1:] == ()
    assert several("ViT-B-16+:x") == ("ViT-B-16+:x",)


def test_models_that_are_not_here(tmp_path: Path) -> None:
    with pytest.raises(OvssError, match=r"'owner/clipseg' is not on this machine: .*hf download o"):
        ovsslib.load("clipseg", vlm="owner/clipseg")
    with pytest.raises(
        OvssError, match=r"micro-blip: neither a folder nor a hub id, where CLIPSeg"
    ):
        ovsslib.load("clipseg", vlm="micro-blip")
    with pytest.raises(OvssError, match=r"holds no config.json; give a folder made by"):
        find(str(tmp_path), "CLIPSeg")


def test_models_with_a_licence_to_accept(monkeypatch: pytest.MonkeyPatch) -> None:
    for ask in (model_digest, lambda name: find(name, "SAM 3")):
        with pytest.raises(OvssError, match=r"'facebook/sam3' is not on .*gated \(SAM License\)"):
            ask("facebook/sam3")
    from huggingface_hub.errors import GatedRepoError

    def refused(name: str, *, download: bool) -> Path:
        assert download
        raise OvssError("the download failed") from GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(hub_names, "hub_folder", refused)
    with pytest.raises(
        OvssError, match=r"failed; it is gated \(.*co/owner/x, then `hf auth login`"
    ):
        ovsslib.load("clipseg", vlm="owner/x", download=True)


def test_names_need_no_torch() -> None:
    code = "import sys, ovsslib.evaluate.fingerprint; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
