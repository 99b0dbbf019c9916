"""Build the Jupyter Book from the executed notebooks; every warning is an error.

Jupyter Book's own execution is off: its cache is keyed by the notebook alone and would show old
numbers after a change in the library.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ovsslib.book import live
from ovsslib.book.changed import keep, stale
from ovsslib.book.links import dead_links
from ovsslib.book.run import Say, execute, select
from ovsslib.errors import OvssError
from ovsslib.io.files import only_one

_RAW = {
    "a table that is not rendered": re.compile(r"^\s*\|.*\|\s*$|\|\s*:?-{2,}", re.M),
    "a value that is not filled in": re.compile(r"\{?glue:|\{glue\b"),
    "a figure that is not drawn": re.compile(r"<(Figure|Axes).*>"),
}
"""What must not stand in a page's running text -> how it looks."""
_VERBATIM = ("code", "pre", "script", "style", "title", ".math")
"""Elements whose text is shown as it is."""


def build(root: Path) -> Path:
    """Build the HTML; every warning is an error, and so is every fault that `faults` finds.

    Args:
        root: The folder with `_config.yml` and `book/`.

    Returns:
        The first page.

    Raises:
        OvssError: Sphinx warned or failed, or a page shows something broken.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", "book", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    log = root / "_build" / "build.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    page = root / "_build" / "html" / "index.html"
    if done.returncode or not page.is_file():
        plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        lines = [line for line in plain.splitlines() if re.search(r"WARNING:|ERROR:|rror:", line)]
        first = "; ".join(dict.fromkeys(lines[:5])) or f"exit status {done.returncode}"
        raise OvssError(f"the book does not build: {first} (the whole log: {log})")
    broken = [fault for html in sorted(page.parent.rglob("*.html")) for fault in faults(html)]
    broken += dead_links(page.parent)
    if broken:
        raise OvssError(f"faults on the book's pages ({len(broken)}): {'; '.join(broken[:5])}")
    return page


def faults(page: Path) -> list[str]:
    """What is broken on a built page although Sphinx did not warn.

    Found are Markdown tables and glued values that stand there as text, figures without content,
    and images without a file or without alternative text (none, or only a file name).

    Args:
        page: An HTML file.

    Returns:
        One line per fault; of faults in the text the first of each kind.
    """
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    broken = []
    for image in soup.find_all("img"):
        source, alt = str(image.get("src") or ""), str(image.get("alt") or "").strip()
        if not source:
            broken.append("an image without a file")
        elif not re.match(r"[a-z]+:", source) and not (page.parent / source).is_file():
            broken.append(f"an image whose file is missing: {source}")
        if not alt or "_images/" in alt or alt.endswith(".png"):
            broken.append(f"an image without alternative text: {source}")
    for figure in soup.find_all("figure"):
        if not figure.find(["img", "svg", "table", "iframe", "pre"]):
            broken.append("a figure without content")
    for element in soup.select(", ".join(_VERBATIM)):
        element.decompose()
    text = soup.get_text()
    for what, form in _RAW.items():
        if match := form.search(text):
            broken.append(f"{what}: {match[0].strip()[:60]}")
    return [f"{page.name}: {fault}" for fault in broken]


def make_book(
    root: Path,
    only: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    *,
    jobs: int = 2,
    skip_execute: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
) -> Path:
    """Run the notebooks whose inputs changed (or some, or none), then build the book.

    Args:
        root: The checkout: `notebooks/`, `book/` and `_config.yml`.
        only: Beginnings of the names of those to run again.
        given: Parameters for all of them.
        jobs: How many run at a time.
        skip_execute: Use the executed copies that are there.
        force: Run all notebooks, changed or not.
        say: Called with each line of progress.

    Returns:
        The book's first page.

    Raises:
        OvssError: See `execute` and `build`; or an executed copy is missing, or another process
            builds the same book.
    """
    if not (root / "book" / "_toc.yml").is_file():
        raise OvssError(f"{root} has no book/_toc.yml: the book is built from a checkout")
    with only_one(root / "book", "is building the book"):
        target = root / "book" / "executed"
        if not skip_execute:
            chosen = select(root / "notebooks", only)
            if not (only or force):
                every, chosen = chosen, stale(chosen, target, given or {}, root)
                if len(chosen) < len(every):
                    say(f"{len(every) - len(chosen)} notebooks are up to date (--force runs all)")
            if chosen:
                say(f"running {len(chosen)} notebooks, {jobs} at a time")
            figures = root / "book" / "_static" / "generated"
            execute(chosen, target, given or {}, figures=figures, jobs=jobs, say=say)
            for path in chosen:
                keep(path, target, given or {}, root)
        missing = [
            path.stem for path in select(root / "notebooks") if not (target / path.name).is_file()
        ]
        if missing:
            raise OvssError(
                f"not executed yet: {', '.join(missing)}; run `ovss book` without --only"
            )
        _prepare_live(root, say)
        say("building the pages")
        return build(root)


def _prepare_live(root: Path, say: Say) -> None:
    """Make what the page "Try it" runs, if this book has that page.

    A machine without npm or network still gets its book: the page then says what it lacks.
    """
    if not (root / "book" / "try.md").is_file():
        return
    try:
        live.prepare(root / "book" / "_static" / "generated" / "live", say)
    except OvssError as error:
        if os.environ.get("OVSS_STRICT") == "1":
            raise
        say(f"warning: the page Try it will not run: {error}")
