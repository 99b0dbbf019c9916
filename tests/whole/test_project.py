"""The checkout as a whole: sizes, pins, notebooks, README; what no single module can test."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from support.helpers import ROOT

LIBRARY = sorted((ROOT / "ovsslib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEGABYTE = 1 << 20


@cache
def tracked() -> list[Path]:
    """Files that git knows or would add."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(one.name): one for one in found}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_are_short():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in LIBRARY}
    assert {name: n for name, n in lines.items() if n > 400} == {}


def test_each_module_has_its_test_file():
    def tests_of(path: Path) -> set[str]:
        inside = path.relative_to(ROOT / "ovsslib").with_suffix("")
        parts = [part for part in inside.parts if part != "__init__"]
        # ovsslib/vlm/blip.py: test_vlm_blip.py, test_blip.py, or for a whole folder test_vlm.py or
        # several test_vlm_….py
        return {"_".join(parts), parts[-1], *parts[:-1]} if parts else {"api", "init", "pnp"}

    have = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    have |= {name.partition("_")[0] for name in have}
    code = [path for path in LIBRARY if any(map(is_code, ast.parse(path.read_text()).body))]
    lacking = [name_of(path) for path in code if not tests_of(path) & have]
    assert not lacking, "\n".join(lacking)


def is_code(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_neither_prints_nor_asserts_nor_postpones(path):
    text = path.read_text()
    nodes = list(ast.walk(ast.parse(text)))
    calls = [n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert "print" not in calls
    assert not any(isinstance(n, ast.Assert) for n in nodes)
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_a_notebook_is_parameterised_checked_and_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [code[0]], "exactly one cell tagged 'parameters', the first with code"
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.AnnAssign), f"undeclared type: {ast.unparse(node)}"
        assert node.value is not None
    assert "notebook.parameters(globals())" in code[1].source
    assert "notebook.provenance(" in code[-1].source
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    for cell in code:
        assert cell.outputs == []
        assert cell.execution_count is None
    assert "widgets" not in notebook.metadata


def toc_files(node: object) -> list[str]:
    if isinstance(node, list):
        return [name for item in node for name in toc_files(item)]
    if isinstance(node, dict):
        own = [node[key] for key in ("root", "file") if key in node]
        return own + [name for value in node.values() for name in toc_files(value)]
    return []


def test_the_book_shows_every_notebook_and_page():
    files = toc_files(yaml.safe_load((ROOT / "book" / "_toc.yml").read_text()))
    executed = {name.removeprefix("executed/") for name in files if name.startswith("executed/")}
    assert executed == {path.stem for path in NOTEBOOKS}
    pages = {name for name in files if not name.startswith("executed/")}
    assert pages == {path.stem for path in (ROOT / "book").glob("*.md")}
    assert len(files) == len(set(files))


def test_every_cited_work_is_in_the_bibliography_and_used():
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book/references.bib").read_text(), re.M))
    pages = [path.read_text() for path in (ROOT / "book").glob("*.md")]
    pages += [path.read_text() for path in NOTEBOOKS]
    used = {
        key.strip()
        for page in pages
        for keys in re.findall(r"\{cite:\w+\}`([^`]+)`", page)
        for key in keys.split(",")
    }
    assert used == known


def test_readme_shows_the_results_files():
    from ovsslib.book.readme import render

    assert (ROOT / "README.md").read_text() == render(ROOT)


def test_readme_links_and_picture_exist():
    text = (ROOT / "README.md").read_text()
    targets = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", text)
    assert "book/_static/readme.png" in targets
    assert [name for name in targets if not (ROOT / name).exists()] == []


def test_the_lock_pins_every_dependency_exactly_and_in_range():
    for pin in pins().values():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), f"{pin} is no exact pin"
    table = project()["project"]
    wanted = [*table["dependencies"], *project()["build-system"]["requires"]]
    wanted += [one for extra in table["optional-dependencies"].values() for one in extra]
    for one in map(Requirement, wanted):
        assert plain(one.name) in pins(), f"{one.name} is not in requirements.lock"
        version = str(pins()[plain(one.name)].specifier).removeprefix("==")
        assert one.specifier.contains(version, prereleases=True), f"{one}: pinned {version}"


def test_the_lock_holds_what_the_pinned_packages_need():
    """Nothing is left for pip to choose: each requirement of an installed pin is pinned too."""
    lacking = set()
    for name, pin in pins().items():
        if pin.marker is not None and not pin.marker.evaluate():
            continue
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                lacking |= {plain(need.name)} - pins().keys()
    # pip's own tools need pip and wheel, which every virtual environment brings
    assert lacking <= {"pip", "wheel"}


def test_supported_versions_agree():
    table = project()["project"]
    python = SpecifierSet(table["requires-python"])
    listed = [c.rsplit(" ", 1)[1] for c in table["classifiers"] if "Python :: 3." in c]
    assert listed == ["3.11", "3.12", "3.13"]
    assert all(python.contains(f"{version}.0") for version in listed)
    flow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    assert flow["jobs"]["test"]["strategy"]["matrix"]["python"] == listed
    needs = {one.name: one for one in map(Requirement, table["dependencies"])}
    assert not needs["torch"].specifier.contains("2.4.9")
    assert not needs["transformers"].specifier.contains("4.99")
    cite = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cite["version"] == table["version"] == metadata.version("ovsslib")


def test_the_environments_of_lavis_agree():
    lines = (ROOT / "requirements-lavis.lock").read_text().splitlines()
    own = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in own)
    versions = {plain(pin.name): str(pin.specifier) for pin in own}
    assert versions["salesforce-lavis"] == "==1.0.2"
    for name in ("torch", "torchvision", "pydensecrf2"):
        assert versions[name] == str(pins()[name].specifier)
    text = (ROOT / "environment-lavis.yml").read_text()
    assert "python=3.11" in yaml.safe_load(text)["dependencies"]
    assert "pip install --no-deps -r requirements-lavis.lock" in text
    flow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    steps = {name: [step.get("run") for step in job["steps"]] for name, job in flow.items()}
    assert steps["test"][-1] == "make test"
    assert steps["lavis"][-1] == "make test-lavis"
    assert steps["slurm"][-1] == "make test-slurm"
    assert flow["lavis"]["steps"][1]["with"]["python-version"] == "3.11"


def test_ci_runs_the_readme_commands():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111 == 0o111
    lines = script.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-3:] == ["make test", "make test-slurm", "make test-lavis"]
    readme = (ROOT / "README.md").read_text().splitlines()
    for command in lines[-3:]:
        assert any(line.startswith(f"{command} ") for line in readme)


def test_data_are_small():
    big = [name_of(p) for p in tracked() if p.stat().st_size > 12 * MEGABYTE]
    assert big == []
    assert sum(p.stat().st_size for p in tracked()) < 60 * MEGABYTE


def test_no_machine_path_in_any_text():
    # written so that this file does not contain what it looks for
    homes = re.compile(
        "(?<![\\w.])/(?:" + "|".join(["home", "Users", "root", "work", "tmp"]) + ")/"
    )
    hits = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        hits += [f"{name_of(path)}: {m.group()}" for m in homes.finditer(text)]
    assert hits == []
