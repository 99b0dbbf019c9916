"""Build the Jupyter Book from the executed notebooks; every warning is an error.

Jupyter Book's own execution is off: its cache is keyed by the notebook alone and would show old
numbers after a change in the library.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ovsslib.book.run import Say, execute, select
from ovsslib.errors import OvssError
from ovsslib.redact import redact


def build(root: Path) -> Path:
    """Build the HTML; every warning is an error.

    Args:
        root: The folder with `_config.yml` and `book/`.

    Returns:
        The first page.

    Raises:
        OvssError: Sphinx warned or failed, or an image has no alternative text.
    """
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", "book", "-W", "-n", "--keep-going"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    log = root / "_build" / "build.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text(redact(done.stdout + done.stderr), encoding="utf-8")
    page = root / "_build" / "html" / "index.html"
    if done.returncode or not page.is_file():
        plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        told = [line for line in plain.splitlines() if re.search(r"WARNING:|ERROR:|rror:", line)]
        first = "; ".join(dict.fromkeys(told[:5])) or f"exit status {done.returncode}"
        raise OvssError(f"the book does not build: {first} (the whole log: {log})")
    problems = [found for html in sorted(page.parent.rglob("*.html")) for found in lint(html)]
    if problems:
        raise OvssError(f"{len(problems)} images without text: {'; '.join(problems[:5])}")
    return page


def lint(page: Path) -> list[str]:
    """Pictures of a page that say nothing to those who cannot see them.

    Args:
        page: An HTML file.

    Returns:
        One line per image whose alternative text is missing, empty or a file name.
    """
    bad: list[str] = []

    class Pictures(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found = dict(attrs)
            alt = (found.get("alt") or "").strip()
            if tag == "img" and (not alt or "_images/" in alt or alt.endswith(".png")):
                bad.append(f"{page.name}: {found.get('src')}")

    Pictures().feed(page.read_text(encoding="utf-8"))
    return bad


def make_book(
    root: Path,
    only: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    *,
    jobs: int = 2,
    skip_execute: bool = False,
    say: Say = lambda line: None,
) -> Path:
    """Run the notebooks (or some, or none), then build the book.

    Args:
        root: The checkout: `notebooks/`, `book/` and `_config.yml`.
        only: Beginnings of the names of those to run again.
        given: Parameters for all of them.
        jobs: How many run at a time.
        skip_execute: Use the executed copies that are there.
        say: Called with each line of progress.

    Returns:
        The book's first page.

    Raises:
        OvssError: See `execute` and `build`; or an executed copy is missing.
    """
    if not (root / "book" / "_toc.yml").is_file():
        raise OvssError(f"{root} has no book/_toc.yml: the book is built from a checkout")
    target = root / "book" / "executed"
    if not skip_execute:
        chosen = select(root / "notebooks", only)
        say(f"running {len(chosen)} notebooks, {jobs} at a time")
        figures = root / "book" / "_static" / "generated"
        execute(chosen, target, given or {}, figures=figures, jobs=jobs, say=say)
    missing = [
        path.stem for path in select(root / "notebooks") if not (target / path.name).is_file()
    ]
    if missing:
        raise OvssError(f"not executed yet: {', '.join(missing)}; run `ovss book` without --only")
    say("building the pages")
    return build(root)
