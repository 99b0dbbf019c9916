"""A plain Sphinx `conf.py` from Jupyter Book's `_config.yml`.

Jupyter Book 1 is frozen with Sphinx 7. The same book is built by the newest Sphinx and its parts
with this file, and without Jupyter Book:

.. code-block:: console

    $ python -m ovsslib.book.conf
    $ sphinx-build -W -n --keep-going -b html book _build/plain
"""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from typing import Any

_ONLY_JUPYTER_BOOK = ("jupyter_book", "sphinx_comments")


def conf(config: dict[str, Any]) -> str:
    """The text of `conf.py`.

    Args:
        config: What `_config.yml` holds.

    Returns:
        Python: one assignment per setting.

    Example:
        >>> small = {"title": "A", "author": "B", "copyright": "1", "exclude_patterns": [],
        ...          "sphinx": {"config": {"extensions": ["myst_nb", "jupyter_book"]}}}
        >>> conf(small).splitlines()[1:3]
        ["author = 'B'", 'bibtex_bibfiles = []']
    """
    own = dict(config["sphinx"]["config"])
    extensions = [name for name in own.pop("extensions") if name not in _ONLY_JUPYTER_BOOK]
    settings = {
        "author": config["author"],
        "bibtex_bibfiles": config.get("bibtex_bibfiles", []),
        "copyright": config["copyright"],
        # the table of contents names every page; other files are none
        "exclude_patterns": [*config["exclude_patterns"], "conf.py", "_templates"],
        "extensions": [*extensions, "sphinx_multitoc_numbering"],
        "external_toc_exclude_missing": bool(config.get("only_build_toc_files")),
        "external_toc_path": "_toc.yml",
        "html_static_path": ["_static"],
        "html_theme": "sphinx_book_theme",
        "html_title": config["title"],
        "myst_enable_extensions": config.get("parse", {}).get("myst_enable_extensions", []),
        "nb_execution_mode": "off",
        "nb_output_stderr": config.get("execute", {}).get("stderr_output", "show"),
        "project": config["title"],
        "suppress_warnings": ["myst.domains"],
        **own,
    }
    lines = [f"{name} = {pformat(settings[name], width=100)}" for name in sorted(settings)]
    return "\n".join(['"""Written by `python -m ovsslib.book.conf`."""', *lines]) + "\n"


def main() -> None:
    """Write `book/conf.py` of this checkout."""
    import yaml

    from ovsslib.io.files import write_atomic
    from ovsslib.paths import checkout

    root: Path = checkout()
    text = (root / "_config.yml").read_text(encoding="utf-8")
    write_atomic(root / "book" / "conf.py", conf(yaml.safe_load(text)))


if __name__ == "__main__":
    main()
