"""What every page has besides its text. The built pages are tested in tests/browser."""

from __future__ import annotations

from ovsslib.book.pages import downloads, stamp
from ovsslib.io.provenance import provenance


def test_the_stamp_of_a_run() -> None:
    made = provenance() | {"seconds": 61.4, "vlm": "a<b", "config": "f00d"}
    made["git"] = {"commit": "0123456789abcdef", "dirty": True}
    text = stamp(made, "notebooks/02_gradcam.ipynb")
    assert "notebooks/02_gradcam.ipynb</code> at commit <code>0123456789</code>" in text
    assert ", with changes that are not committed, on " in text
    assert " in 61 seconds." in text
    assert f"Python {made['python']}, ovsslib {made['packages']['ovsslib']}, torch " in text
    assert text.endswith("Run: vlm a&lt;b, config f00d.")


def test_colab_only_where_there_is_a_public_repository() -> None:
    here = downloads("02_gradcam", None)
    assert [target for _, target in here] == [
        "notebooks/02_gradcam.ipynb",
        "_sources/executed/02_gradcam.ipynb",
        "numbers/02_gradcam.csv",
        "numbers/02_gradcam.json",
    ]
    text, target = downloads("02_gradcam", "owner/name")[-1]
    assert "not tested" in text
    assert target.endswith("/github/owner/name/blob/main/notebooks/02_gradcam.ipynb")
