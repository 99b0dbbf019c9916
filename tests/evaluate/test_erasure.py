"""What the match score needs: by hand on the same model, patch by patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovsslib.datasets import load_dataset
from ovsslib.evaluate.erasure import erasure
from ovsslib.evaluate.gradient import present
from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import prompts_for
from ovsslib.vlm import load_vlm

DATA = load_dataset("diorama", None, "tune")


def test_against_a_loop_over_patches() -> None:
    matcher = load_vlm("micro-blip", "cpu")
    table = erasure(matcher, DATA, limit=1, seed=3)
    name, side, edge = DATA.ids[0], matcher.image_size // matcher.patch_size, matcher.patch_size
    owned = {k: v for k, v in present(DATA, name, side).items() if 2 * v.sum() <= len(v)}
    assert list(table["class"]) == list(owned)
    pixels = matcher.preprocess([DATA.image(name)])[0]
    tokens = matcher.encode_images(pixels[None])[0]
    for row, (word, patches) in zip(table.to_dict("records"), owned.items(), strict=True):
        left, changed = [], pixels.clone()
        boxes = [
            (slice(r * edge, (r + 1) * edge), slice(c * edge, (c + 1) * edge))
            for r in range(side)
            for c in range(side)
        ]
        for gone, box in zip(patches, boxes, strict=True):
            if not gone:
                left.append(pixels[:, *box].flatten(1))
        for gone, box in zip(patches, boxes, strict=True):
            if gone:
                changed[:, *box] = torch.cat(left, 1).mean(1)[:, None, None]
        cut = tokens.clone()
        cut[1:][torch.from_numpy(patches)] = tokens[1:][torch.from_numpy(~patches)].mean(0)
        shown = torch.stack([tokens, matcher.encode_images(changed[None])[0], cut])
        prompt = prompts_for(matcher, PnPConfig(), [word])[0].tokens
        logits = matcher.match(shown, [prompt] * 3, 1).logit.tolist()
        assert [row["whole"], row["pixels"], row["tokens"]] == pytest.approx(logits, abs=1e-4)
        assert row["patches"] == patches.sum()
        assert row["kind"] == ("thing" if DATA.classes.index(word) + 1 in DATA.things else "stuff")


def test_the_shipped_model_reads_a_thing_from_its_own_patches() -> None:
    table = erasure(load_vlm("micro-blip", "cpu"), DATA, limit=8)
    things = table[table["kind"] == "thing"]
    for part in ("pixels", "tokens"):
        lost = things["whole"] - things[part]
        assert (lost > things["whole"] - things[f"other_{part}"]).mean() > 0.9
    again = erasure(load_vlm("micro-blip", "cpu"), DATA, limit=2)
    assert np.allclose(again["other_pixels"], table["other_pixels"][: len(again)], atol=1e-3)
