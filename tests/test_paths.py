"""Where shipped things lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from ovsslib import paths
from ovsslib.errors import OvssError


def test_in_a_checkout_data_lie_beside_the_package() -> None:
    assert paths.in_checkout()
    assert paths.data("paper") == paths.checkout() / "data" / "paper"


def test_in_an_installed_package_they_lie_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "ovsslib"
    (package / "_data" / "paper").mkdir(parents=True)
    monkeypatch.setattr(paths, "PACKAGE", package)
    assert paths.data("paper").is_dir()
    assert not paths.in_checkout()
    with pytest.raises(OvssError, match="clone it"):
        paths.checkout()
