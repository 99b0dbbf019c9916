"""Run the notebooks through papermill, each in a process of its own.

The executed copies are tidied for the book: see `tidy`.
"""

from __future__ import annotations

import ast
import copy
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ovsslib.book.notebook import FIGURE_KEY, FIGURES, QUIET
from ovsslib.errors import OvssError
from ovsslib.io.pool import check_main
from ovsslib.lookup import check_names
from ovsslib.redact import redacted

Say = Callable[[str], None]


def select(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks to run, in order.

    Args:
        folder: Where the sources are.
        only: Beginnings of file names, such as `01`; without any, all notebooks.

    Returns:
        Paths, sorted by name.

    Raises:
        OvssError: There is no notebook, or no name begins like that.
    """
    paths = sorted(folder.glob("*.ipynb"))
    names = ", ".join(path.stem for path in paths)
    for start in only or [""]:
        if not any(path.stem.startswith(start) for path in paths):
            raise OvssError(f"no notebook {start!r} in {folder}; available: {names or 'none'}")
    return [path for path in paths if path.stem.startswith(tuple(only) or "")]


def check_parameters(notebook: Path, given: Mapping[str, Any]) -> None:
    """Refuse parameters that the notebook's cell of that name does not declare.

    Args:
        notebook: The source.
        given: Parameter names and values.

    Raises:
        OvssError: A name is unknown; the nearest is named.
    """
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise OvssError(f"{notebook} needs exactly one cell tagged 'parameters'")
    # Papermill's own inspection passes over types such as `int | None`.
    body = ast.parse(tagged[0].source).body
    declared = [ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign)]
    check_names(f"notebook {notebook.stem} parameter", given, declared)


def execute(
    notebooks: Sequence[Path],
    target: Path,
    given: Mapping[str, Any],
    *,
    figures: Path,
    jobs: int = 2,
    say: Say = lambda line: None,
) -> None:
    """Run notebooks in processes of their own and write the executed copies.

    All are run even when one fails, so that one build shows every failure.

    Args:
        notebooks: The sources.
        target: Folder of the executed copies.
        given: Parameters put in the place of each notebook's defaults.
        figures: Folder where `ovsslib.book.notebook.figure` saves the images.
        jobs: How many run at a time, each with one computing thread.
        say: Called with a line when a notebook is done.

    Raises:
        OvssError: A parameter is unknown, or notebooks failed: which, in which cell, and why.
    """
    for path in notebooks:
        check_parameters(path, given)
    target.mkdir(parents=True, exist_ok=True)
    check_main()
    failures = []
    # spawned, not forked: the children start without this process's threads
    with ProcessPoolExecutor(max(1, jobs), mp_context=get_context("spawn")) as pool:
        running = {
            pool.submit(_execute_one, path, target / path.name, dict(given), figures): path
            for path in notebooks
        }
        for done in as_completed(running):
            seconds, problem = done.result()
            say(f"  {running[done].stem:<28}{seconds:6.1f} s{'  failed' if problem else ''}")
            if problem:
                failures.append(problem)
    if failures:
        raise OvssError("; ".join(sorted(failures)))


def _execute_one(
    source: Path, target: Path, given: dict[str, Any], figures: Path
) -> tuple[float, str]:
    """Run one notebook; seconds, and what went wrong (empty when nothing)."""
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # inherited by the kernel
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ[QUIET] = "1"
    os.environ[FIGURES] = str(figures)
    start = time.perf_counter()
    problem = ""
    target.unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            given,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            extra_arguments=["--log-level=40"],  # errors only: the terminal is for progress
        )
        notebook = tidy(nbformat.read(target, as_version=4), source.stem)
        nbformat.write(notebook, target)
    except PapermillExecutionError as error:
        problem = (
            f"notebook {source.stem} failed in cell [{error.exec_count}]: {error.ename}: "
            f"{error.evalue} (traceback in {target})"
        )
    except (CellTimeoutError, DeadKernelError, OvssError) as error:
        problem = f"notebook {source.stem} failed: {str(error).strip().splitlines()[0]}"
    finally:
        if target.exists():  # also where a cell failed: its traceback is kept
            _clean(target)
    return time.perf_counter() - start, problem


def _clean(path: Path) -> None:
    """Cut secrets out of an executed notebook."""
    import nbformat

    notebook = redacted(nbformat.read(path, as_version=4))
    nbformat.write(nbformat.from_dict(notebook), path)


def tidy(notebook: Any, name: str) -> Any:
    """Prepare an executed notebook for the book.

    Defaults that were replaced are removed, parameters are folded away, and the texts left by
    `ovsslib.book.notebook.figure` go where MyST-NB reads them: into the cell's metadata.

    Args:
        notebook: An executed notebook (nbformat 4).
        name: Its name, for messages.

    Returns:
        A changed copy.

    Raises:
        OvssError: A cell shows two figures, or an image without alternative text.
    """
    notebook = copy.deepcopy(notebook)
    tags = [set(cell.metadata.get("tags", [])) for cell in notebook.cells]
    injected = any("injected-parameters" in names for names in tags)
    for cell, names in zip(notebook.cells, tags, strict=True):
        if "parameters" in names:
            names.add("remove-cell" if injected else "hide-input")
        if "injected-parameters" in names:
            names.add("hide-input")
        if names:
            cell.metadata["tags"] = sorted(names)
        if cell.cell_type == "code":
            _lift_texts(cell, name)
    return notebook


def _lift_texts(cell: Any, name: str) -> None:
    """Move a figure's texts from the output's metadata to the cell's."""
    where = f"notebook {name}, cell [{cell.execution_count}]"
    images = [o for o in cell.outputs if any(k.startswith("image/") for k in o.get("data", {}))]
    texts = [o.metadata.pop(FIGURE_KEY) for o in images if FIGURE_KEY in o.metadata]
    if len(texts) > 1:
        raise OvssError(f"{where} shows {len(texts)} figures: one per cell")
    mystnb = dict(cell.metadata.get("mystnb", {}))
    if texts:
        mystnb["image"] = {"alt": texts[0]["alt"]}
        if texts[0]["caption"]:
            mystnb["figure"] = {"caption": texts[0]["caption"], "name": texts[0]["name"]}
        cell.metadata["mystnb"] = mystnb
    if images and not mystnb.get("image", {}).get("alt"):
        raise OvssError(f"{where} shows an image without alternative text: use notebook.figure")
