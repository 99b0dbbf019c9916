"""The worked example of the contributor's page, carried out in a copy of the package.

Files are taken from the page by the captions of its code blocks: a new file is written as it
stands, a line for a registry is added where the page says. Then its commands are run.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, linear, normalize, scaled_dot_product_attention

from ovsslib.datasets import load_dataset
from ovsslib.methods import METHODS
from support.helpers import ROOT
from support.towers import micro

PAGE = ROOT / "book" / "contributor.md"
BLOCK = re.compile(r"^```\{code-block\} (\w+)\n(?::caption: (\S+)\n)?(.*?)^```$", re.M | re.S)
MODULE, TEST = "ovsslib/peers/segearth_ov.py", "tests/peers/test_segearth_ov.py"
REGISTRY, RECORDS, LIST = "ovsslib/methods.py", "ovsslib/methods.csv", "notebooks/10_table.ipynb"
METHOD, LIMIT = "segearth-ov", 3
# What the example's steps touch or read.
COPIED = (
    "ovsslib", "tests/support", "tests/conftest.py", "tests/test_methods.py", "pyproject.toml",
    "book/references.bib", LIST,
)  # fmt: skip


def example() -> tuple[dict[str, str], list[list[str]]]:
    """The page's files by their captions, and the words of its commands."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(r"^#{2,3} ", text.split("### A worked example\n")[1], flags=re.M)[0]
    blocks = BLOCK.findall(section)
    files = {caption: body for language, caption, body in blocks if language != "bash"}
    (commands,) = [body for language, _, body in blocks if language == "bash"]
    return files, [shlex.split(line) for line in commands.splitlines()]


def add(folder: Path, name: str, body: str) -> None:
    """Add one of the page's blocks to a copy of the checkout."""
    path = folder / name
    if name == REGISTRY:
        text = path.read_text(encoding="utf-8")
        form = re.compile(r"^(METHODS: .*?)^}", re.M | re.S)
        path.write_text(form.sub(lambda found: f"{found[1]}{body}}}", text), encoding="utf-8")
    elif name == RECORDS:
        path.write_text(path.read_text(encoding="utf-8") + body, encoding="utf-8")
    elif name == LIST:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cell, last = [
            (cell["source"], number)
            for cell in notebook["cells"]
            for number, line in enumerate(cell["source"])
            if re.match(r"\| `[\w-]+` \|", line)
        ][-1]
        cell.insert(last + 1, body)
        path.write_text(json.dumps(notebook), encoding="utf-8")
    else:
        assert not path.exists(), f"{name} is in the library already: the page needs a new example"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, encoding="utf-8")


def copy(folder: Path, files: dict[str, str]) -> Path:
    """A copy of the checkout in which the page has been followed."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    (folder / "data").symlink_to(ROOT / "data")
    for name, body in files.items():
        add(folder, name, body)
    return folder


def run(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy, with the copy's package before the installed one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": str(folder), "PATH": path}
    environment.pop("OVSS_RESULTS", None)  # the page's run stores where it is run
    return subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The copy after all commands, and the output of each by its first two words."""
    files, commands = example()
    folder, said = copy(tmp_path_factory.mktemp("checkout"), files), {}
    for words in commands:
        done = run(folder, words)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
        said[" ".join(words[:2])] = done.stdout
    return folder, said


def test_the_page_shows_every_step() -> None:
    files, commands = example()
    assert list(files) == [MODULE, REGISTRY, RECORDS, LIST, TEST]
    assert METHOD not in METHODS
    assert [words[:2] for words in commands] == [
        ["python", "-m"], ["ovss", "methods"], ["ovss", "run"], ["ovss", "table"],
    ]  # fmt: skip
    assert TEST in commands[0]
    assert commands[2][2:] == ["--method", METHOD, "--filter", "all", "--limit", str(LIMIT)]


def test_its_files_pass_the_linters(followed: tuple[Path, dict[str, str]]) -> None:
    folder, _ = followed
    for words in (["check"], ["format", "--check"]):
        done = run(folder, ["python", "-m", "ruff", *words, MODULE, TEST, REGISTRY])
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_method_is_tested_and_listed(followed: tuple[Path, dict[str, str]]) -> None:
    _, said = followed
    assert re.search(r"^=+ \d+ passed in ", said["python -m"], re.M)
    (row,) = [line for line in said["ovss methods"].splitlines() if line.startswith(METHOD)]
    assert re.split("  +", row) == [METHOD, "image-text", "micro-clip", "Li et al., CVPR 2025"]


def test_the_result_is_in_the_table(followed: tuple[Path, dict[str, str]]) -> None:
    folder, said = followed
    record, stored = result(folder)
    assert stored.name.startswith(f"{METHOD}_micro-clip_diorama-val_all_")
    assert f"written: ovss-results/{stored.name}" in said["ovss run"]
    assert (record["method"], record["images"], record["filter"]) == (METHOD, LIMIT, "all")
    head, _, *rows = [line for line in said["ovss table"].splitlines() if line.startswith("|")]
    (row,) = [dict(zip(cells(head), cells(row), strict=True)) for row in rows]
    (known,) = csv.reader([example()[0][RECORDS]])
    assert (row["system"], row["supervision"]) == (METHOD, known[1])
    assert f"{100 * record['metrics']['miou']['value']:.1f} [" in " ".join(row.values())


def test_its_figure_is_that_of_a_direct_computation(
    followed: tuple[Path, dict[str, str]],
) -> None:
    record, _ = result(followed[0])
    assert record["metrics"]["miou"]["value"] == pytest.approx(direct(), abs=1e-4)


def test_its_test_notices_a_wrong_formula(tmp_path: Path) -> None:
    files, _ = example()
    right = "alike(qkv, qkv).sum(0)"
    assert right in files[MODULE]
    wrong = files | {MODULE: files[MODULE].replace(right, "alike(qkv, qkv)[:2].sum(0)")}
    done = run(copy(tmp_path, wrong), ["python", "-m", "pytest", "-q", TEST])
    assert re.search(r"^2 failed, 1 passed", done.stdout, re.M), done.stdout + done.stderr


def result(folder: Path) -> tuple[dict, Path]:
    """The stored run and its file."""
    (stored,) = (folder / "ovss-results").glob("*.json")
    return json.loads(stored.read_text(encoding="utf-8")), stored


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def direct() -> float:
    """Mean IoU over classes of the first images, by open_clip and counting alone."""
    data, tower = load_dataset("diorama", None, "val"), micro()
    texts = tower.texts(data.classes, (lambda name: f"a picture of a {name}",))
    counts = np.zeros((3, len(data.classes) + 1))
    for name in data.ids[:LIMIT]:
        image, truth = data.image(name), data.label(name)
        scores = similarities(tower.model.visual, tower.prepare([image]), texts)
        large = interpolate(scores[None], truth.shape, mode="bilinear", align_corners=False)[0]
        found = large.argmax(0).numpy() + 1
        for label in range(1, len(data.classes) + 1):
            ours, theirs = (found == label) & (truth != 255), truth == label
            counts[:, label] += (ours & theirs).sum(), ours.sum(), theirs.sum()
    both, ours, theirs = counts
    union = ours + theirs - both
    return float((both[union > 0] / union[union > 0]).mean())


def similarities(vision: torch.nn.Module, pixels: Tensor, texts: Tensor) -> Tensor:
    """The example's scores (K, h, w) of one image: the formula, with torch's own attention."""
    *early, last = vision.transformer.resblocks
    attention, side = last.attn, vision.grid_size[0]
    with torch.no_grad():
        tokens = vision._embeds(pixels)
        for block in early:
            tokens = block(tokens)
        packed = linear(last.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = (
            part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for part in packed.chunk(3, dim=-1)
        )
        read = sum(scaled_dot_product_attention(kind, kind, v) for kind in (q, k, v))
        state = attention.out_proj(read.transpose(1, 2).flatten(2))
        units = normalize(vision.ln_post(state) @ vision.proj, dim=-1)[0]
        cosines = texts @ units.T
        return (cosines[:, 1:] - 0.3 * cosines[:, :1]).unflatten(1, (side, side))
