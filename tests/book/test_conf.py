"""A plain Sphinx configuration: the same settings, without Jupyter Book."""

from __future__ import annotations

import yaml

from ovsslib.book.conf import conf
from support.helpers import ROOT


def test_settings_are_carried_over() -> None:
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    found: dict[str, object] = {}
    exec(conf(config), found)
    assert found["project"] == config["title"]
    assert found["html_math_renderer"] == "mathml"
    assert found["bibtex_bibfiles"] == ["references.bib"]
    assert found["nb_execution_mode"] == "off"
    assert "myst_nb" in found["extensions"]
    assert "jupyter_book" not in found["extensions"]
    assert found["myst_enable_extensions"] == config["parse"]["myst_enable_extensions"]
