"""The list of departures: complete, read from the presets, and nowhere contradicted."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.departures import ALL, DECISIONS, DEVIATIONS, PAPER, Deviation, settings
from ovsslib.pnp.presets import PRESETS, preset
from support.helpers import ROOT


def test_every_field_in_which_the_presets_differ_is_listed() -> None:
    blip, released = preset("blip").to_dict(), preset("released-code").to_dict()
    differing = {name for name in blip if blip[name] != released[name]}
    assert {one.field for one in DEVIATIONS} == differing
    assert len(DEVIATIONS) == len(differing)


def test_the_papers_value_is_that_of_every_other_preset() -> None:
    for name in PRESETS.keys() - {"released-code"}:
        for one in DEVIATIONS:
            assert getattr(preset(name), one.field) == one.paper, (name, one.field)


def test_the_documentation_of_a_field_calls_the_value_released() -> None:
    text = " ".join((PnPConfig.__doc__ or "").split())
    names = [field.name for field in dataclasses.fields(PnPConfig)]
    for one in DEVIATIONS:
        after = text.split(f" {one.field}: ", 1)[1]
        # Up to the next field.
        following = [after.find(f" {name}: ") for name in names if f" {name}: " in after]
        assert "released" in after[: min(following, default=len(after))], one.field


@pytest.mark.parametrize("base", ["micro-blip", "released-code"])
def test_settings_differ_in_the_field_they_are_called_after(base: str) -> None:
    found = settings(preset(base, threshold=0.3))
    assert list(found) == [PAPER, *(one.field for one in DEVIATIONS), ALL]
    paper = found[PAPER].to_dict()
    for one in DEVIATIONS:
        changed = found[one.field].to_dict()
        assert {key for key in paper if paper[key] != changed[key]} == {one.field}
        assert changed[one.field] == one.released
        assert getattr(found[ALL], one.field) == one.released
    assert {config.threshold for config in found.values()} == {0.3}
    assert settings(preset("blip"))[ALL] == preset("released-code")
    assert settings(preset("blip"))[PAPER] == preset("blip")


def test_steps_and_meanings() -> None:
    assert [one.step for one in DEVIATIONS] == sorted(one.step for one in DEVIATIONS)
    assert all(1 <= one.step <= 5 for one in DEVIATIONS)
    texts = [one.meaning for one in DEVIATIONS] + [one.released for one in DECISIONS]
    assert len(set(texts)) == len(texts)
    # A table's cell in Markdown.
    assert not any("|" in text or "\n" in text for text in texts)


def test_decisions_name_what_exists() -> None:
    for one in DECISIONS:
        package, module, *names = one.where.split(".")
        holder: object = importlib.import_module(f"ovsslib.{package}.{module}")
        for name in names:
            fields = getattr(holder, "__dataclass_fields__", {})
            assert name in fields or hasattr(holder, name), one.where
            holder = getattr(holder, name, None)


def test_a_deviation_without_a_field_is_an_error() -> None:
    with pytest.raises(AttributeError):
        _ = Deviation("no_such_field", 1, "x").paper


def test_the_page_and_the_contributor_name_the_modules() -> None:
    root = ROOT
    assert "deviations" in (root / "book" / "contributor.md").read_text()
