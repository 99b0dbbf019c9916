"""Which notebooks run again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ovsslib.book import changed
from ovsslib.book.changed import keep, stale
from support.helpers import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two notebooks that ran."""
    for name in ("ovsslib/pnp.py", "ovsslib/book/pages.py", "data/a.json", "requirements.lock"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    for name in ("notebooks", "book/executed"):
        (tmp_path / name).mkdir(parents=True)
        for stem in ("01_a", "02_b"):
            (tmp_path / name / f"{stem}.ipynb").write_text(stem)
    for path in sources(tmp_path):
        keep(path, tmp_path / "book" / "executed", {"limit": 2}, tmp_path)
    return tmp_path


def sources(root: Path) -> list[Path]:
    return sorted((root / "notebooks").glob("*.ipynb"))


def names(root: Path, **given: object) -> list[str]:
    changed._shared.cache_clear()
    found = stale(sources(root), root / "book" / "executed", given or {"limit": 2}, root)
    return [path.stem for path in found]


def test_nothing_runs_when_nothing_changed(checkout: Path) -> None:
    assert names(checkout) == []


@pytest.mark.parametrize("name", ["ovsslib/pnp.py", "data/a.json", "requirements.lock", "data/new"])
def test_all_run_when_code_data_or_versions_change(checkout: Path, name: str) -> None:
    (checkout / name).write_text("other")
    assert names(checkout) == ["01_a", "02_b"]


def test_all_run_with_other_parameters(checkout: Path) -> None:
    assert names(checkout, limit=3) == ["01_a", "02_b"]


def test_one_runs_when_it_changed_or_its_copy_is_gone(checkout: Path) -> None:
    (checkout / "notebooks" / "01_a.ipynb").write_text("other")
    assert names(checkout) == ["01_a"]
    (checkout / "book" / "executed" / "02_b.ipynb").unlink()
    assert names(checkout) == ["01_a", "02_b"]


def test_what_makes_pages_only_runs_nothing(checkout: Path) -> None:
    (checkout / "ovsslib/book/pages.py").write_text("other")
    assert names(checkout) == []


def test_modules_that_make_pages_exist() -> None:
    here = Path(changed.__file__).parent
    assert [name for name in changed._PAGES if not (here / f"{name}.py").is_file()] == []


def test_no_notebook_uses_a_module_that_makes_pages_only() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sources(ROOT))
    used = set(re.findall(r"from ovsslib\.book(?:\.(\w+))? import (\w+)", text))
    assert used, "notebooks use other modules of the book"
    assert not {name for pair in used for name in pair} & {*changed._PAGES}
