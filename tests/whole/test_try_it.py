"""The page "Try it" in a real browser, by mouse, keyboard and touch: labels as the library's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ovsslib.book import live
from ovsslib.book.build import build
from ovsslib.datasets import load_dataset
from ovsslib.paths import data
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import default_config
from ovsslib.vlm import load_vlm
from support.browser import served, started, visit
from support.helpers import ROOT

pytestmark = pytest.mark.slow

PATIENCE = 120_000  # milliseconds, for machines that have other work
IDLE = "#explorer:not([aria-busy]) .try-rounds canvas"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page in the project's own theme; the pages that it leads to are empty."""
    root = tmp_path_factory.mktemp("book")
    book = root / "book"
    (book / "executed").mkdir(parents=True)
    for name in ("_config.yml", "book/references.bib", "book/try.md"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "book" / "_static", book / "_static", ignore=lambda *_: {"generated"})
    live.prepare(book / "_static" / "generated" / "live")
    others = sorted(set(re.findall(r"\{doc\}`([^`]+)`", (book / "try.md").read_text())))
    for name in others:
        (book / f"{name}.md").write_text(f"# {name}\n")
    (book / "intro.md").write_text("# Start\n\n{doc}`try`\n")
    chapters = "".join(f"  - file: {name}\n" for name in ["try", *others])
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: intro\nchapters:\n{chapters}")
    return build(root).parent


@pytest.fixture(scope="module")
def home(site: Path) -> Iterator[str]:
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as one:
        yield one


@pytest.fixture(scope="module")
def theme_faults(browser: Any, home: str) -> set[str]:
    """What the theme logs on an empty page, too."""
    with visit(browser, home) as seen:
        seen.open("intro.html")
    return {*seen.errors, *seen.failed}


@pytest.fixture
def page(request: pytest.FixtureRequest, browser: Any, home: str, theme_faults: set[str]) -> Any:
    """The page with its first answer; in the end nothing may have gone wrong on it."""
    with visit(browser, home, getattr(request, "param", "desk")) as seen:
        one = seen.page
        one.set_default_timeout(PATIENCE)
        one.goto(f"{home}/try.html")
        one.wait_for_selector(IDLE)
        yield one
        assert {*seen.errors, *seen.failed} <= theme_faults


@pytest.fixture(scope="module")
def blip() -> Any:
    return load_vlm("micro-blip", "cpu")


dataset = load_dataset("diorama", root=data("diorama"))


def answer(page: Any) -> dict[str, Any]:
    """What the page shows, when it has finished."""
    page.wait_for_selector(IDLE)
    code = "({names, labels, image}) => ({names, labels: [...labels], image: image.width})"
    found = page.evaluate(f"({code})(document.querySelector('#explorer').result)")
    found["labels"] = np.array(found["labels"]).reshape(-1, found["image"])
    return found


def check(page: Any, blip: Any, image: Any, classes: list[str], **changed: Any) -> None:
    """The page's labels are the library's, and so are its words for them."""
    found = answer(page)
    assert found["names"] == classes
    config = default_config(blip, crf=False, **changed)
    want = PnPOVSS(blip, config).segment(image, classes)
    assert np.array_equal(found["labels"], want.labels)
    said = page.inner_text(".try-status")
    for k, name in enumerate(classes):
        assert (f"{name} " in said) == bool((want.labels == k).any())


def classes_of(name: str) -> list[str]:
    present = np.unique(dataset.label(name)).tolist()
    return [dataset.classes[k - 1] for k in present if 0 < k < 255]


def test_three_pictures_by_mouse(page: Any, blip: Any) -> None:
    for name in dataset.ids[:3]:
        page.click(f"input[value={name}]")
        check(page, blip, dataset.image(name), classes_of(name))
        labels, truth = answer(page)["labels"], dataset.label(name)
        for k, each in enumerate(classes_of(name)):
            said, true = labels == k, truth == dataset.classes.index(each) + 1
            kept = truth != 255
            iou = 100 * (said & true & kept).sum() / ((said | true) & kept).sum()
            shown = page.inner_text(f".try-legend tbody tr:nth-child({k + 1}) td:last-child")
            assert abs(float(re.sub("[< %]", "", shown)) - iou) <= 1
    page.click(".try-show label:nth-of-type(2)")
    heading = page.locator(".try-rounds canvas").nth(2).get_attribute("aria-label")
    assert f"GradCAM of “{classes_of(name)[1]}”" in heading


def test_by_keyboard(page: Any, blip: Any) -> None:
    second = dataset.ids[1]
    page.focus(f"input[value={dataset.ids[0]}]")
    page.keyboard.press("ArrowRight")
    check(page, blip, dataset.image(second), classes_of(second))

    for _ in range(3):  # the file, the drawing pad, the names
        page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("grass, Fire Hydrant, boat")
    names = ["grass", "Fire Hydrant", "boat"]
    check(page, blip, dataset.image(second), names)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # layer 3
    page.keyboard.press("Tab")
    page.keyboard.press("End")  # the last head
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # 3 rounds
    changed = {"layer": 3, "head": 4, "rounds": 3}
    check(page, blip, dataset.image(second), names, **changed)
    assert page.inner_text("output[name=head_shown]") == "4"

    page.reload()  # the address holds it all
    check(page, blip, dataset.image(second), names, **changed)
    page.click("a[href='#what-you-see'] >> visible=true")
    check(page, blip, dataset.image(second), names, **changed)


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_by_touch_on_a_phone(page: Any, blip: Any) -> None:
    third = dataset.ids[2]
    page.tap(f"input[value={third}]")
    check(page, blip, dataset.image(third), classes_of(third))
    slider = page.locator("input[name=rounds]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 10, box["y"] + box["height"] / 2)  # the left end: no dropout
    check(page, blip, dataset.image(third), classes_of(third), rounds=1)
    page.tap("[data-reset]")
    check(page, blip, dataset.image(third), classes_of(third))
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_picture_of_one_s_own(page: Any, blip: Any, tmp_path: Path) -> None:
    own = dataset.image(dataset.ids[5]).transpose(Image.Transpose.ROTATE_90)
    own.save(tmp_path / "own.png")
    page.set_input_files("input[type=file]", tmp_path / "own.png")
    page.fill("input[name=classes]", "sky, zebra")
    check(page, blip, own, ["sky", "zebra"])
    assert page.is_hidden("[data-truth-figure]")
    page.evaluate(
        """async (address) => {
          const blob = await (await fetch(address)).blob();
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([blob], "dropped.png", { type: "image/png" }));
          const drop = new DragEvent("drop", { dataTransfer, bubbles: true });
          document.querySelector(".try-answer").dispatchEvent(drop);
        }""",
        f"_static/generated/live/{dataset.ids[4]}.png",
    )
    page.wait_for_function("document.querySelector('#explorer').result.image.width === 200")
    check(page, blip, dataset.image(dataset.ids[4]), ["sky", "zebra"])
    (tmp_path / "own.txt").write_text("no picture")
    page.set_input_files("input[type=file]", tmp_path / "own.txt")
    page.wait_for_function("document.querySelector('.try-error').textContent")
    assert page.inner_text(".try-error") == "own.txt is no picture that this browser can read."


def test_a_drawing(page: Any, blip: Any) -> None:
    page.click(".try-draw summary")
    pad = page.locator(".try-draw canvas")
    pixels = """(canvas) => [...canvas.getContext("2d").getImageData(0, 0, 200, 150).data]"""

    def drawn() -> np.ndarray:
        return np.array(pad.evaluate(pixels), np.uint8).reshape(150, 200, 4)[..., :3]

    check(page, blip, drawn(), ["sky", "grass"])
    empty = drawn()
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 90, steps=3)
    page.mouse.up()
    by_mouse = drawn()
    check(page, blip, by_mouse, ["sky", "grass"])
    assert (by_mouse != empty).any()
    pad.press("Shift+ArrowDown")
    pad.press(" ")
    check(page, blip, drawn(), ["sky", "grass"])
    assert (drawn() != by_mouse).any()


def test_names_that_cannot_be_used(page: Any) -> None:
    page.fill("input[name=classes]", "cat, cat")
    page.wait_for_selector(IDLE)
    assert page.inner_text(".try-error") == "The class “cat” is given twice."
    page.fill("input[name=classes]", "cat, dög ☂")
    page.wait_for_selector(IDLE)
    assert page.inner_text(".try-error") == "Not in the model's alphabet: dög ☂."
    page.fill("input[name=classes]", "cat,")
    page.wait_for_selector(IDLE)
    assert page.is_hidden(".try-error")


@pytest.mark.parametrize("missing", ["model.json", "model.onnx"])
def test_without_its_files(missing: str, browser: Any, home: str) -> None:
    with visit(browser, home) as seen:
        page = seen.page
        page.set_default_timeout(PATIENCE)
        page.route(f"**/{missing}", lambda route: route.fulfill(status=404))
        page.goto(f"{home}/try.html")
        code = "document.querySelector('#explorer').textContent.includes('does not run here')"
        page.wait_for_function(code)
        assert f"{missing} is missing from this copy of the book" in page.inner_text("#explorer")
