"""What the book's page "Try it" needs: a model, pictures with their labels, onnxruntime-web.

All of it is made or fetched when the book is built, and served with the pages: a reader's browser
asks nobody else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

from ovsslib.draw.colours import class_colours
from ovsslib.errors import OvssError
from ovsslib.io.class_names import class_names
from ovsslib.io.download import cache_folder
from ovsslib.io.files import make_folder, write_atomic
from ovsslib.io.json import dumps
from ovsslib.paths import PACKAGE, data

MODEL = "micro-blip"
PICTURES = 12
"""The first images of Diorama's `val` split."""
COLOURS = 60
"""Colours of the data set's classes, then of names that a reader invents."""
RUNTIME = "onnxruntime-web"
VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package, base64, as `npm view onnxruntime-web@1.30.0 dist.integrity` prints it."""
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""The parts of the package that run on one processor thread, without a GPU."""
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
_SOURCES = ("book/live.py", "vlm/export.py", "vlm/blip/net.py", "pnp/presets.py")


def prepare(target: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Write the page's files; what is there already and still right stays.

    Args:
        target: Folder for `model.onnx`, `model.json`, `pictures.json`, the pictures, and
            `runtime/`.
        say: Called with a line before anything that takes seconds.

    Raises:
        OvssError: The model cannot be exported, or the runtime be fetched.
    """
    make_folder(target)
    write_model(target, say)
    write_pictures(target)
    write_runtime(target / "runtime", say)


def write_model(target: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Write the exported model and `model.json`; arguments and errors as `prepare`."""
    if is_current(target):
        return
    say(f"exporting {MODEL} for the page Try it")
    from ovsslib.pnp.presets import default_config
    from ovsslib.vlm import find_checkpoint, load_vlm
    from ovsslib.vlm.export import describe, export_onnx

    matcher = load_vlm(MODEL, "cpu")
    write_atomic(target / "model.onnx", export_onnx(matcher))
    settings = default_config(matcher, find_checkpoint(MODEL)).to_dict()
    card = describe(matcher) | {"config": settings, "made_from": _made_from()}
    write_atomic(target / "model.json", dumps(card))


def is_current(target: Path) -> bool:
    """Whether a folder holds what the model, its settings and the exporting code give now."""
    card = target / "model.json"
    if not card.is_file() or not (target / "model.onnx").is_file():
        return False
    return bool(json.loads(card.read_text(encoding="utf-8")).get("made_from") == _made_from())


def _made_from() -> str:
    """One hash of all that the exported files depend on."""
    from ovsslib.vlm import find_checkpoint

    whole = hashlib.sha256(metadata.version("torch").encode())
    sources = [PACKAGE / name for name in _SOURCES]
    for path in [*sorted(find_checkpoint(MODEL).iterdir()), *sources]:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def write_pictures(target: Path) -> None:
    """Write pictures and true labels without loss, and `pictures.json`, which lists them.

    Args:
        target: The folder.
    """
    from ovsslib.datasets import load_dataset

    names = class_names("diorama")
    dataset = load_dataset("diorama", root=data("diorama"))
    listed = []
    for name in dataset.ids[:PICTURES]:
        image, truth = dataset.image(name), dataset.label(name)
        # A browser may decode a JPEG otherwise than Pillow does; a PNG has one meaning.
        _save(image, target / f"{name}.png")
        _save(Image.fromarray(truth.astype(np.uint8)), target / f"{name}_truth.png")
        inside = [k for k in np.unique(truth).tolist() if 0 < k <= len(names)]
        listed.append({"id": name, "classes": [names[k - 1] for k in inside]})
    record = {
        "pictures": listed,
        "classes": list(names),
        # Behind those of the classes, what names of the reader's own get.
        "colours": class_colours([*names, *map(str, range(len(names), COLOURS))]).tolist(),
    }
    write_atomic(target / "pictures.json", dumps(record))


def _save(image: Image.Image, path: Path) -> None:
    write_atomic(path, lambda file: image.save(file, format="PNG", optimize=True))


def write_runtime(target: Path, say: Callable[[str], None] = lambda line: None) -> None:
    """Write onnxruntime-web's files and licences.

    The package is fetched with `npm` once and kept in the cache.

    Args:
        target: The folder.
        say: Called with a line before a download.

    Raises:
        OvssError: There is no npm, the package cannot be fetched, or it is another one.
    """
    if all((target / name).is_file() for name in (*FILES, *LICENCES)):
        return
    archive = cache_folder() / "npm" / f"{RUNTIME}-{VERSION}.tgz"
    if not archive.is_file():
        say(f"fetching {RUNTIME} {VERSION} (33 MB) for the page Try it")
        _fetch(archive)
    content = archive.read_bytes()
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != SHA512:
        raise OvssError(f"{archive} is not {RUNTIME} {VERSION}: its SHA-512 differs; delete it")
    make_folder(target)
    with tarfile.open(archive) as package:
        for name in FILES:
            part = package.extractfile(f"package/dist/{name}")
            if part is None:
                raise OvssError(f"{archive} holds no {name}; delete it")
            write_atomic(target / name, part.read())
    # The package names its licence (MIT) and leaves the text to the project's other packages.
    wheel = Path(str(metadata.distribution("onnxruntime").locate_file("onnxruntime")))
    for name in LICENCES:
        write_atomic(target / name, (wheel / name).read_bytes())


def _fetch(archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise OvssError(f"no npm here to fetch {RUNTIME} with; install Node.js 20, which brings it")
    make_folder(archive.parent)
    command = [npm, "pack", f"{RUNTIME}@{VERSION}", "--pack-destination", str(archive.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not archive.is_file():
        reason = " ".join((done.stderr.strip() or "no file came").split())[:200]
        raise OvssError(f"npm cannot fetch {RUNTIME} {VERSION} ({reason}); check the network")
