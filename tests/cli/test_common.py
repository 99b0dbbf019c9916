"""Settings and lists given as text."""

from __future__ import annotations

import pytest

from ovsslib.cli._common import fractions, numbers, settings, sizes_of, split_names
from ovsslib.errors import OvssError


def test_class_names_and_settings_as_typed() -> None:
    assert split_names("house , traffic light") == ["house", "traffic light"]
    assert split_names("  ") == []
    typed = settings(["max-side=none", "crf=FALSE", "blur=1e-2", "prompt=A photo of", "layer=2"])
    assert typed == {
        "max_side": None, "crf": False, "blur": 0.01, "prompt": "A photo of", "layer": 2
    }  # fmt: skip
    for wrong in ("crf", "=3"):
        with pytest.raises(OvssError, match="write it as key=value"):
            settings([wrong])


def test_lists_of_numbers_as_typed() -> None:
    assert numbers(" 1, 20", "--batches", least=1) == [1, 20]
    assert numbers("", "--batches", least=1) == []
    assert fractions("0, .5,1.0", "--blurs") == (0.0, 0.5, 1.0)
    assert sizes_of("500x375, 1x2") == [(500, 375), (1, 2)]
    for wrong in ("0", "1.5", "1,,2", "x"):
        with pytest.raises(OvssError, match=r"--batches .* whole numbers from 1 up"):
            numbers(wrong, "--batches", least=1)
    for wrong in ("1.1", "-0.5", "1e-2"):
        with pytest.raises(OvssError, match=r"--blurs .* numbers from 0 to 1"):
            fractions(wrong, "--blurs")
    with pytest.raises(OvssError, match="--size '500': give width x height"):
        sizes_of("500")
