"""Helpers of the notebooks, with the real IPython display machinery."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.utils.capture import capture_output
from PIL import Image

from ovsslib.book import notebook
from ovsslib.errors import OvssError


@pytest.fixture
def shell(monkeypatch):
    """An IPython shell, as in a kernel: without one, `display` only prints."""
    from IPython.core.interactiveshell import InteractiveShell

    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def drawing():
    fig, axis = plt.subplots(figsize=(2, 1))
    axis.plot([0, 1])
    return fig


def test_progress_gives_every_item_and_is_silent_in_the_book(monkeypatch, capsys):
    monkeypatch.setenv(notebook.QUIET, "1")
    assert list(notebook.progress(range(3), "pictures")) == [0, 1, 2]
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(notebook.QUIET)
    assert list(notebook.progress(range(3), "pictures")) == [0, 1, 2]
    assert "pictures" in capsys.readouterr().err


def test_a_figure_is_shown_saved_and_described(shell, tmp_path, monkeypatch):
    monkeypatch.setenv(notebook.FIGURES, str(tmp_path / "pictures"))
    fig = drawing()
    with capture_output() as shown:
        notebook.figure(fig, "rise", alt="A line\nthat rises", caption="A *line*.")
    with Image.open(tmp_path / "pictures" / "rise.png") as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    (output,) = shown.outputs
    assert "image/png" in output.data
    assert output.metadata[notebook.FIGURE_KEY] == {
        "name": "fig-rise",
        "alt": "A line that rises",
        "caption": "A *line*.",
    }
    assert not plt.fignum_exists(fig.number)


def test_a_figure_without_text_is_refused():
    with pytest.raises(OvssError, match="'rise' has no alternative text"):
        notebook.figure(drawing(), "rise", alt="  ")
    plt.close("all")


def test_glue_keeps_plain_numbers(shell):
    with capture_output() as kept:
        notebook.glue("miou", np.float64(0.5))
    (output,) = kept.outputs
    assert output.metadata["scrapbook"]["name"] == "miou"
    assert output.data["application/papermill.record/text/plain"] == "0.5"


def test_provenance_is_shown_and_written(shell, tmp_path):
    with capture_output() as shown:
        notebook.provenance(tmp_path / "made.json", device="cpu", config={"rounds": 4})
    text = shown.outputs[0].data["text/markdown"]
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["config"] == {"rounds": 4}
    assert record["device"].startswith("cpu")
    assert '| config | `{"rounds": 4}` |' in text
    assert str(tmp_path) not in text


def test_provenance_holds_no_secret(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "no-known-form-0123")
    with capture_output() as shown:
        notebook.provenance(tmp_path / "made.json", command="--key no-known-form-0123")
    assert "| command | `--key [key]` |" in shown.outputs[0].data["text/markdown"]
    assert json.loads((tmp_path / "made.json").read_text())["command"] == "--key [key]"
