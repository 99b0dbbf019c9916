"""What every page of the book has besides its text: downloads at the top, a stamp at the end.

A Sphinx extension. The stamp says in words what the page was made from; the downloads are the
notebook as it is in the repository, as it ran, and its numbers as JSON and CSV.
"""

from __future__ import annotations

import datetime
import html
import json
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovsslib.book.numbers import PROVENANCE_KEY, as_csv, as_json, numbers
from ovsslib.io.provenance import git_state

if TYPE_CHECKING:
    from sphinx.application import Sphinx

REPOSITORY = "GITHUB_REPOSITORY"
"""OWNER/NAME of the published repository; GitHub's own builds set it. Without it, no Colab link."""
CITATIONS = 'class="citation-list"'
_EXECUTED = "executed/"


def stamp(made: dict[str, Any], source: str) -> str:
    """A page's origin in one paragraph, HTML.

    Args:
        made: What `ovsslib.book.notebook.provenance` gathered, or only `git` and `time`.
        source: The file the page comes from, such as `notebooks/02_gradcam.ipynb`.

    Example:
        >>> stamp({"git": None, "time": "2026-11-28T17:00:00+00:00"}, "book/a.md")
        'Made from <code>book/a.md</code> on 28 November 2026.'
    """
    state = made.get("git")
    words = [f"Made from <code>{html.escape(source)}</code>"]
    if state:
        changed = ", with changes that are not committed" if state["dirty"] else ""
        words.append(f"at commit <code>{state['commit'][:10]}</code>{changed},")
    day = datetime.datetime.fromisoformat(made["time"])
    words.append(f"on {day.day} {day:%B %Y}")
    if "python" not in made:
        return " ".join(words) + "."
    seconds = f" in {float(made['seconds']):.0f} seconds" if made.get("seconds") else ""
    packages = ", ".join(f"{name} {version}" for name, version in made["packages"].items())
    machine = f"{made['processor']} ({made['cpus']} processors), {made['device']}, {made['dtype']}"
    run = [f"{key} {made[key]}" for key in _RUN if made.get(key) is not None]
    lines = [
        f"{' '.join(words)}{seconds}.",
        f"Machine: {html.escape(machine)}.",
        f"Versions: Python {made['python']}, {html.escape(packages)}.",
    ]
    if run:
        lines.append(f"Run: {html.escape(', '.join(run))}.")
    return " ".join(lines)


_RUN = ("method", "vlm", "dataset", "split", "protocol", "config")


def downloads(name: str, repository: str | None) -> list[tuple[str, str]]:
    """Texts and addresses of what a notebook's page offers, from the book's first folder.

    Args:
        name: Of the notebook, without ending.
        repository: OWNER/NAME on GitHub, or None.
    """
    found = [
        ("this notebook", f"notebooks/{name}.ipynb"),
        ("as it ran here", f"_sources/{_EXECUTED}{name}.ipynb"),
        ("these numbers as CSV", f"numbers/{name}.csv"),
        ("as JSON", f"numbers/{name}.json"),
    ]
    if repository:
        place = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks"
        found.append(("open in Colab (not tested)", f"{place}/{name}.ipynb"))
    return found


def lean(head: str) -> str:
    """A page's head without the icons as a script of 1.5 MB; the theme has them as a font, too.

    Example:
        >>> lean('<a></a><script defer src="scripts/fontawesome.js?digest=1"></script>')
        '<a></a>'
    """
    return re.sub(r"<script[^>]*fontawesome\.js[^>]*></script>", "", head)


def _dress(app: Sphinx, pagename: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Put downloads and stamp around a page's text."""
    del template
    context["ovss_lean"] = lean
    if tree is None or "body" not in context:
        return
    name, made = pagename.removeprefix(_EXECUTED), app.ovss_build
    source = f"book/{pagename}.md"
    path = Path(app.srcdir) / f"{pagename}.ipynb"
    if pagename.startswith(_EXECUTED) and path.is_file():
        source = f"notebooks/{name}.ipynb"
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        made = metadata.get(PROVENANCE_KEY, made)
        links = ['<li class="ovss-what">Download</li>']
        for text, target in downloads(name, os.environ.get(REPOSITORY)):
            outside = target.startswith("https:")
            address = target if outside else context["pathto"](target, 1)
            save = "" if outside else " download"
            links.append(f'<li><a href="{html.escape(address)}"{save}>{text}</a></li>')
        line = f'<ul class="ovss-downloads" aria-label="Downloads">{"".join(links)}</ul>'
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{line}", 1)
    # the bibliography's list holds entries that are no list items for a screen reader
    context["body"] = context["body"].replace('role="list" class="citation-list"', CITATIONS)
    words = stamp(made, source)
    context["body"] += f'\n<p class="ovss-stamp" role="note">{words}</p>\n'


def _begin(app: Sphinx) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    root = Path(app.srcdir).parent
    app.ovss_build = {"git": git_state(root), "time": now}


def _write(app: Sphinx, problem: Exception | None) -> None:
    """Write what the pages offer for download."""
    if problem is not None or app.builder.format != "html":
        return
    import nbformat

    out, root = Path(app.outdir), Path(app.srcdir).parent
    for folder in ("notebooks", "numbers"):
        (out / folder).mkdir(exist_ok=True)
    for path in sorted((Path(app.srcdir) / _EXECUTED).glob("*.ipynb")):
        found = numbers(nbformat.read(path, as_version=4))
        for ending, text in (("json", as_json(found)), ("csv", as_csv(found))):
            (out / "numbers" / f"{path.stem}.{ending}").write_text(text, encoding="utf-8")
        shutil.copyfile(root / "notebooks" / path.name, out / "notebooks" / path.name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("builder-inited", _begin)
    app.connect("html-page-context", _dress, priority=900)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
