"""The page "Try it": what is served with it, and its scripts against the library."""

from __future__ import annotations

import base64
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovsslib.book import live
from ovsslib.errors import OvssError
from ovsslib.evaluate.task import make_task
from ovsslib.io.class_names import class_names
from ovsslib.paths import PACKAGE
from ovsslib.pnp.pipeline import PnPOVSS, prompts_for
from ovsslib.pnp.presets import default_config
from ovsslib.pnp.refine import refine_maps
from ovsslib.vlm import load_vlm
from ovsslib.vlm.export import describe
from support.node import needs_node, run_node

IMAGES = 20
LISTS = sorted(path.stem for path in (PACKAGE / "vocab").glob("*.txt"))
ODD = [
    "Café", "fire-hydrant", "t.v.", "naïve  cat", "日本 cat", "cat's", "x" * 101, "ÉCOLE", "a\tb",
    "[SEP] cat", "[UNK]", "100%", "ﬁre", "cat\u200bdog", "ein Straßenschild", "🐱 cat",
]  # fmt: skip


@pytest.fixture(scope="module")
def blip():
    return load_vlm("micro-blip", "cpu")


@pytest.fixture(scope="module")
def card(blip) -> dict:
    return describe(blip) | {"config": default_config(blip).to_dict()}


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Path:
    """The page's folder, made as the book makes it."""
    folder = tmp_path_factory.mktemp("live")
    live.prepare(folder)
    return folder


@pytest.fixture(scope="module")
def pictures() -> list:
    work = make_task("diorama", limit=IMAGES)
    return [work.read(name) for name in work.ids]


def rgb(image: Image.Image) -> dict:
    """An image as the scripts take it."""
    flat = np.asarray(image).tobytes()
    data = base64.b64encode(flat).decode()
    return {"width": image.width, "height": image.height, "data": data}


def rows(names: list[str], found: list, blip) -> None:
    """The scripts' prompts are the library's, and so is what they warn of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        want = prompts_for(blip, default_config(blip), names)
    assert [tuple(prompt["ids"]) for prompt in found] == [each.tokens.ids for each in want]
    spans = [tuple(tuple(span) for span in prompt["spans"]) for prompt in found]
    assert spans == [each.spans for each in want]
    unknown = [name for prompt in found for name in prompt["unknown"]]
    assert len(unknown) == len(said)
    assert all(repr(name) in str(each.message) for name, each in zip(unknown, said, strict=True))


@needs_node
@pytest.mark.parametrize("words", [*LISTS, "odd"])
def test_tokens(words: str, blip, card, tmp_path: Path) -> None:
    """Of every class name that ships, alone and all together."""
    names = ODD if words == "odd" else list(class_names(words))
    lists = [names, *([name] for name in names)]
    code = """const { buildPrompts } = await live("text");
return given.lists.map((names) => buildPrompts(names, given.card));"""
    found = run_node(code, {"card": card, "lists": lists}, tmp_path)
    for asked, prompts in zip(lists, found, strict=True):
        rows(asked, prompts, blip)


@needs_node
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("", "Type at least one class name."),
        (" , ", "Type at least one class name."),
        ("cat, Cat", "The class “Cat” is given twice."),
        ("\u200b", "The class “\u200b” holds nothing the model can read."),
        ("x y " * 60, "is too long for the model."),
    ],
)
def test_names_that_cannot_be_used(typed: str, words: str, card, tmp_path: Path) -> None:
    code = """const { buildPrompts, splitClasses } = await live("text");
try { return buildPrompts(splitClasses(given.typed), given.card).length; }
catch (error) { return error.message; }"""
    assert words in run_node(code, {"card": card, "typed": typed}, tmp_path)


@needs_node
def test_pixels(pictures, blip, card, tmp_path: Path) -> None:
    """The network's input to the last bit: smaller, larger and turned pictures, one of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (301, 57, 3), dtype=np.uint8)
    images = [each.image for each in pictures]
    images += [images[0].crop((0, 0, 40, 90)), images[1].crop((0, 0, 112, 150))]
    images.append(Image.fromarray(noise))
    code = """const { preprocess } = await live("image");
return given.images.map(({ width, height, data }) =>
  Buffer.from(preprocess({ width, height, data: Buffer.from(data, "base64") }, given.card).buffer)
    .toString("base64"));"""
    given = {"card": card, "images": [rgb(image) for image in images]}
    want = blip.preprocess(images).numpy()
    for text, pixels in zip(run_node(code, given, tmp_path), want, strict=True):
        assert np.array_equal(np.frombuffer(base64.b64decode(text), np.float32), pixels.ravel())


SETTINGS = [
    {},
    {"layer": 3, "head": 2, "threshold": 0.3, "rounds": 3, "patches_per_round": 25, "blur": 0.0},
]
METHOD = """const ort = await import(`${given.served}/runtime/ort.wasm.min.mjs`);
ort.env.wasm.numThreads = 1;
const file = readFileSync(new URL(`${given.served}/model.onnx`));
const session = await ort.InferenceSession.create(file);
const { findLabels, findMaps, iou } = await live("method");
const ask = async (pixels, ids) => {
  const feeds = {
    pixels: new ort.Tensor("float32", pixels, [1, 3, 112, 112]),
    ids: new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]),
  };
  const out = await session.run(feeds);
  return Object.fromEntries(Object.entries(out).map(([name, { data }]) => [name, data]));
};
const out = [];
for (const { image, names, truth, ids } of given.pictures) {
  const whole = { ...image, data: Buffer.from(image.data, "base64") };
  const maps = await findMaps(ask, whole, names, given.settings, given.card);
  const labels = findLabels(maps.sum, 14, image, given.settings);
  out.push({
    match: maps.match, labels: [...labels], sum: maps.sum.map((map) => [...map]),
    attention: maps.rounds[0].attention.map((map) => [...map]),
    dropped: maps.rounds.map((round) => round.dropped),
    iou: iou(labels, Buffer.from(truth, "base64"), ids),
  });
}
return out;"""


@needs_node
@pytest.mark.slow
@pytest.mark.parametrize("changed", SETTINGS, ids=["preset", "other"])
def test_the_method(changed: dict, pictures, served: Path, blip, card, tmp_path: Path) -> None:
    """Maps and labels of 20 pictures: onnxruntime-web and our scripts against the library."""
    config = default_config(blip, crf=False, **changed)
    names = class_names("diorama")
    given = {
        "served": served.as_uri(),
        "card": card,
        "settings": config.to_dict(),
        "pictures": [
            {
                "image": rgb(each.image),
                "names": each.classes,
                "truth": base64.b64encode(each.truth.astype(np.uint8).tobytes()).decode(),
                "ids": [names.index(name) + 1 for name in each.classes],
            }
            for each in pictures
        ],
    }
    for each, found in zip(pictures, run_node(METHOD, given, tmp_path), strict=True):
        (maps,) = PnPOVSS(blip, config).maps([each.image], [each.classes], stages=True)
        refined = refine_maps(maps, config)
        labels = refined.labels
        assert abs(found["match"] - maps.match) < 1e-4
        for stage in ("attention", "sum"):
            want = maps.stages[stage].reshape(len(each.classes), -1)
            assert np.abs(np.array(found[stage]) - want).max() < 1e-4 * min(1, want.max())
        assert np.array_equal(np.array(found["dropped"]).ravel(), maps.stages["dropped"].ravel())
        shown = np.array(found["labels"]).reshape(labels.shape)
        equal = shown == labels
        if config.blur:
            assert equal.all()
        else:
            # Two classes with one patch each have the same plane there; rounding decides.
            weakest, strongest = np.sort(refined.stages["blurred"], axis=0)[-2:]
            assert ((strongest - weakest)[~equal] < 1e-5).all()
            assert equal.mean() > 0.99
        scored = each.truth != 255
        for k, name in enumerate(each.classes):
            said, true = shown[scored] == k, each.truth[scored] == names.index(name) + 1
            assert found["iou"][k] == pytest.approx((said & true).sum() / (said | true).sum())


@pytest.mark.slow
def test_what_is_served(served: Path) -> None:
    record = json.loads((served / "pictures.json").read_text())
    assert len(record["pictures"]) == live.PICTURES
    dataset = make_task("diorama").dataset
    for each in record["pictures"]:
        shown, truth = (Image.open(served / f"{each['id']}{end}.png") for end in ("", "_truth"))
        assert np.array_equal(np.asarray(shown), np.asarray(dataset.image(each["id"])))
        assert np.array_equal(np.asarray(truth), dataset.label(each["id"]))
        assert truth.mode == "L"
        ids = {record["classes"].index(name) + 1 for name in each["classes"]}
        assert ids == set(np.unique(np.asarray(truth))) - {0, 255}
    assert sorted(path.name for path in (served / "runtime").iterdir()) == sorted(
        [*live.FILES, *live.LICENCES]
    )
    assert "MIT License" in (served / "runtime" / "LICENSE").read_text()
    whole = sum(path.stat().st_size for path in served.glob("*.png"))
    assert whole < 2 << 20


@pytest.mark.slow
def test_what_is_there_is_kept_until_something_changes(served: Path, tmp_path: Path) -> None:
    shutil.copytree(served, tmp_path / "live")
    lines: list[str] = []
    live.prepare(tmp_path / "live", lines.append)
    assert lines == []
    card = tmp_path / "live" / "model.json"
    card.write_text(card.read_text().replace('"made_from": "', '"made_from": "0'))
    assert not live.is_current(tmp_path / "live")
    assert not live.is_current(tmp_path)


def test_without_npm_or_with_another_package(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OVSS_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OvssError, match=r"no npm here to fetch onnxruntime-web with; install Node"):
        live.write_runtime(tmp_path / "runtime")
    archive = tmp_path / "npm" / f"onnxruntime-web-{live.VERSION}.tgz"
    archive.parent.mkdir()
    archive.write_bytes(b"something else")
    with pytest.raises(OvssError, match="SHA-512 differs; delete it"):
        live.write_runtime(tmp_path / "runtime")
    assert not (tmp_path / "runtime").exists()
