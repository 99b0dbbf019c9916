"""What several test files share: a tiny random BLIP, small images, a small data set.

Nothing here is a mock: the model is the real `transformers` class with few, random weights, written
with `save_pretrained` and read back as any checkpoint is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "realdata"
needs_realdata = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real-format samples (../shared/realdata) are not here"
)

QUICK_OPTIONS = ["--preset", "micro-blip", "--set", "layer=1", "--set", "rounds=2"]
"""Settings for the tiny BLIP, on the command line."""

_WORDS = (
    "a picture of car bus boat house tree cat dog sheep bird traffic street light hot air balloon"
    " fire hydrant mushroom sky grass sand water road brick wall"
)


def tiny_vocabulary() -> dict[str, int]:
    """WordPiece vocabulary: special tokens, Diorama's words, every letter and its continuation."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens = special + _WORDS.split() + letters + ["##" + letter for letter in letters]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def random_model(kind: Any, config: Any, *, seed: int, spread: float) -> Any:
    """A model of transformers whose random weights are large enough for attention to differ."""
    import torch

    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(spread * torch.randn(weight.shape))
    torch.random.set_rng_state(state)
    model.set_attn_implementation("eager")
    return model


def make_tiny_blip(folder: Path, *, seed: int = 0, image_size: int = 96, patch: int = 8) -> Path:
    """Write a random `BlipForImageTextRetrieval` (2 + 2 layers, width 32) with its processor."""
    import torch
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForImageTextRetrieval,
        BlipImageProcessor,
        BlipProcessor,
    )

    vocabulary = tiny_vocabulary()
    config = BlipConfig(
        text_config={
            "vocab_size": len(vocabulary),
            "hidden_size": 32,
            "encoder_hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "pad_token_id": vocabulary["[PAD]"],
            "bos_token_id": vocabulary["[DEC]"],
            "eos_token_id": vocabulary["[SEP]"],
            "sep_token_id": vocabulary["[SEP]"],
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "projection_dim": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": image_size,
            "patch_size": patch,
        },
        projection_dim=16,
        image_text_hidden_size=16,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = BlipForImageTextRetrieval(config).eval()
    torch.random.set_rng_state(state)
    model.save_pretrained(folder)
    tokenizer = BertTokenizer(
        vocab=vocabulary, do_lower_case=True, additional_special_tokens=["[DEC]", "[ENC]"]
    )
    processor = BlipImageProcessor(size={"height": image_size, "width": image_size})
    BlipProcessor(image_processor=processor, tokenizer=tokenizer).save_pretrained(folder)
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random BLIP; import the name into a test file to use it."""
    return make_tiny_blip(tmp_path_factory.mktemp("tiny-blip"))


def write_photo(path: Path, size: tuple[int, int] = (64, 48), *, seed: int = 0) -> Path:
    """Write a smooth random image of ``size`` (width, height) and return its path."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def write_voc(
    root: Path,
    n: int = 3,
    *,
    classes: int = 20,
    size: tuple[int, int] = (48, 36),
    split: str = "val",
) -> Path:
    """Write ``n`` images in VOC's layout: two labelled rectangles, void between them."""
    from ovsslib.io.palette import voc_palette

    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = [f"img_{index:04d}" for index in range(n)]
    captions = []
    for index, name in enumerate(ids):
        write_photo(root / "JPEGImages" / f"{name}.jpg", size, seed=index)
        label = np.zeros((size[1], size[0]), np.uint8)
        first, second = rng.choice(classes, 2, replace=False) + 1
        label[:, : size[0] // 3] = first
        label[:, size[0] // 3] = 255
        label[size[1] // 2 :, size[0] // 2 :] = second
        picture = Image.fromarray(label)
        picture.putpalette(voc_palette().tobytes())
        picture.save(root / "SegmentationClass" / f"{name}.png")
        captions.append({"id": name, "split": split, "captions": ["an image"] * 8})
    (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("\n".join(ids) + "\n")
    with (root / "captions.jsonl").open("a") as out:
        out.writelines(json.dumps(line) + "\n" for line in captions)
    return root


def ovss(*arguments: object) -> object:
    """Run the command in this process."""
    from typer.testing import CliRunner

    from ovsslib.cli.main import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_error(done: object, status: int, *words: str) -> None:
    """Exactly one line on standard error, an error with these words, and no traceback."""
    assert done.exit_code == status, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert "Traceback" not in done.output


def as_nobody(*words: object) -> subprocess.CompletedProcess[str]:
    """Run Python as a user without an entry in the list of users, without `HOME` and rights."""
    user = ["unshare", "-U", "--map-user=12345", "--map-group=12345"]
    try:
        subprocess.run([*user, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no way here to become another user")
    names = ("HOME", "OVSS_CACHE", "XDG_CACHE_HOME", "HF_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [*user, sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
