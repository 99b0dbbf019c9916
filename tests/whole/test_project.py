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
    names = ("requirements.lock", "requirements-cuda.lock")
    lines = [line for name in names for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {plain(one.name): one for one in found}


@cache
def installed() -> set[str]:
    return {plain(each.metadata["Name"]) for each in metadata.distributions()}


def cuda_pins() -> set[str]:
    lines = (ROOT / "requirements-cuda.lock").read_text().splitlines()
    return {plain(Requirement(line).name) for line in lines if not line.startswith("#")}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_modules_are_short():
    lines = {name_of(path): len(path.read_text().splitlines()) for path in LIBRARY}
    assert {name: n for name, n in lines.items() if n > 400} == {}


# Modules that are tested with another one: module -> test file, which must name it or its command.
TESTED_WITH = {
    "cli/bench/peers.py": "bench/test_peers.py",
    "cli/bench/pipeline.py": "bench/test_pipeline.py",
    "cli/bench/training.py": "bench/test_training.py",
    "cli/bench/tuning.py": "bench/test_tuning.py",
    "cli/deviations.py": "evaluate/test_comparison.py",
    "cli/factorial.py": "tuning/test_factorial.py",
    "cli/localise.py": "cli/test_train.py",
    # A scene is drawn by all of these together.
    **{
        f"miniature/diorama/{name}.py": "miniature/test_diorama_scene.py"
        for name in ("animals", "canvas", "captions", "clutter", "make", "stuff", "things")
    },
    # A micro model is trained by all of these together.
    "miniature/training/bpe.py": "miniature/test_training_bridgetower.py",
    "miniature/training/bridgetower_recipe.py": "miniature/test_training_bridgetower.py",
    "miniature/training/card.py": "miniature/test_training_loop.py",
    "miniature/training/clip.py": "miniature/test_training_heldout.py",
    "miniature/training/negatives.py": "miniature/test_training_wordpiece.py",
    "miniature/training/pairs.py": "miniature/test_training_contrast.py",
    "miniature/training/patches.py": "miniature/test_training_heldout.py",
    "miniature/training/recipe.py": "miniature/test_training_loop.py",
    "miniature/training/rows.py": "miniature/test_training_bridgetower.py",
    "peers/hub_clip.py": "peers/test_tower.py",
    "peers/method.py": "peers/test_hub.py",
    "peers/parts.py": "peers/test_tower.py",
    "vlm/inputs.py": "vlm/test_matcher.py",
    "vlm/lavis/tokenizer.py": "vlm/test_lavis_checkpoint.py",
    "vlm/protocol.py": "vlm/test_matcher.py",
}


def homes_of(path: Path) -> list[Path]:
    """Where a module's tests may be: `a/b/c.py` in `a/test_b_c.py` or in `a/b/test_c.py`."""
    *packages, name = path.relative_to(ROOT / "ovsslib").with_suffix("").parts
    name = name.strip("_")
    first, inner = packages[:1], packages[1:]
    own = [ROOT / "tests" / Path(*packages) / f"test_{name}.py"]
    return [*own, ROOT / "tests" / Path(*first) / f"test_{'_'.join([*inner, name])}.py"]


def test_each_module_has_its_test_file():
    code = [path for path in LIBRARY if any(map(is_code, ast.parse(path.read_text()).body))]
    lacking = {
        str(path.relative_to(ROOT / "ovsslib"))
        for path in code
        if not any(map(Path.is_file, homes_of(path)))
    }
    assert lacking == TESTED_WITH.keys()


@pytest.mark.parametrize("module", TESTED_WITH)
def test_a_module_tested_with_another_is_named_there(module):
    words = {part.removesuffix(".py").strip("_") for part in module.split("/")[1:]}
    assert any(word in (ROOT / "tests" / TESTED_WITH[module]).read_text() for word in words)


def test_each_test_file_has_its_module():
    """Those in `tests/browser`, `whole`, `lavis` and `slurm` test no single module."""
    known = {path for module in LIBRARY for path in homes_of(module)}
    apart = {ROOT / "tests" / name for name in ("browser", "whole", "lavis", "slurm")}
    files = [p for p in (ROOT / "tests").rglob("test_*.py") if p.parent not in apart]
    assert sorted(name_of(path) for path in files if path not in known) == []


def is_code(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


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
    from ovsslib.book.readme import INTRO, render, render_intro

    assert (ROOT / "README.md").read_text() == render(ROOT)
    assert (ROOT / INTRO).read_text() == render_intro(ROOT)


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
        if name not in installed():  # CUDA's packages, under `make TORCH=cpu`
            assert name in cuda_pins(), f"{name} is pinned but not installed"
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
    assert lines[-4:] == ["make test", "make test-book", "make test-slurm", "make test-lavis"]
    readme = (ROOT / "README.md").read_text().splitlines()
    for command in lines[-4:]:
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
