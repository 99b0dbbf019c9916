"""The registry of methods, and what is known about each."""

from __future__ import annotations

import inspect
import json
import re
import unicodedata

import pytest

from ovsslib import methods
from ovsslib.errors import OvssError
from ovsslib.lookup import resolve
from ovsslib.methods import (
    DEFAULTS,
    METHODS,
    SUPERVISION,
    default_model,
    list_methods,
    load,
    records,
)
from support.helpers import ROOT


def test_every_method_resolves() -> None:
    assert list_methods() == sorted(METHODS)
    for target in METHODS.values():
        assert callable(resolve(target))


def test_the_default_model_is_the_builder_s() -> None:
    assert set(DEFAULTS) <= set(METHODS)
    for name, target in METHODS.items():
        given = inspect.signature(resolve(target)).parameters["vlm"].default
        assert given in (None, default_model(name)), name


def test_load_unknown_method() -> None:
    with pytest.raises(OvssError, match="did you mean 'pnp-ovss'"):
        load("pnp-ovs")


def test_every_method_has_its_record_and_every_record_its_method() -> None:
    assert records().keys() == METHODS.keys()
    for name, record in records().items():
        assert record.method == name
        assert record.supervision in SUPERVISION
        assert record.trained_on
        assert record.licence


def bibliography() -> dict[str, str]:
    """Key -> entry."""
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    entries = re.split(r"^@\w+\{", text, flags=re.M)[1:]
    return {entry.partition(",")[0]: entry for entry in entries}


def plain(text: str) -> str:
    """Letters without accents, as TeX or Unicode write them."""
    text = re.sub(r"\\\w?\{?|[{}\"'^`]", "", text.replace(r"{\i}", "i"))
    text = text.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i")
    return "".join(c for c in unicodedata.normalize("NFD", text) if c.isascii())


def test_papers_are_in_the_bibliography_as_they_are_named() -> None:
    known = bibliography()
    for record in records().values():
        keys, names = record.paper.split(), record.reference.split("; ")
        for key, name in zip(keys, names, strict=True):
            people, _, venue = name.partition(", ")
            authors, year = (
                re.search(rf"{field}\s*= \{{(.*)\}}", known[key])[1] for field in ("author", "year")
            )
            surnames = [plain(author.partition(",")[0]) for author in authors.split(" and ")]
            short = f"{surnames[0]} et al." if len(surnames) > 2 else " and ".join(surnames)
            assert plain(people) == short
            assert venue.endswith(f" {year}")


def test_the_book_lists_the_records() -> None:
    notebook = json.loads((ROOT / "notebooks" / "10_table.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    rows = [
        (
            r.method,
            r.supervision,
            r.trained_on,
            ", ".join(f"{{cite:t}}`{k}`" for k in r.paper.split()),
        )
        for r in records().values()
    ]
    found = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", text, re.M)
    assert found == rows


def test_a_supervision_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "SUPERVISION", {"image-texts": "x"})
    records.cache_clear()
    with pytest.raises(OvssError, match=r"'image-text'; did you mean 'image-texts'\?"):
        records()
    records.cache_clear()
