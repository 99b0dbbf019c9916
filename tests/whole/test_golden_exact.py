"""The released code's own figures to 1e-6, labels exactly: the preset "released-code" in float32.

The golden network amplifies rounding, so that float32 figures come out to 1e-6 only where every sum
is rounded as it was when they were made. What was found (torch 2.15, an AMD EPYC with AVX-512;
largest error of the match logits, then of the maps of round 0 and of the sums):

==============================================  =======  ===========  =============  ============
float32, attention step by step                 logits   maps         sums           labels
==============================================  =======  ===========  =============  ============
one thread                                      0.0      3e-8         7e-8           equal
two threads                                     0.0      0.0          0.0            equal
`MKL_CBWR` AVX2 or AVX512                       0.0      3e-8         6e-8           equal
`MKL_CBWR=COMPATIBLE`                           7e-4     7e-4         1e-3           up to 1.3 %
`ATEN_CPU_CAPABILITY=avx2`                      7e-4     2e-3         4e-3           up to 1.6 %
`ATEN_CPU_CAPABILITY=default`                   1e-3     2e-3         4e-3           up to 1.5 %
`ONEDNN_MAX_CPU_ISA` AVX2 or SSE41              6e-4     1e-3         2e-3           up to 1.4 %
fused attention (the library's usual way)       1e-3     1e-3         3e-3           up to 1.3 %
exact (float64)                                 1e-3     6e-4         1e-3           up to 7.3 %
transformers' BLIP, one or two threads          0.0      3e-8, 0.0    -              -
transformers' BLIP, each image alone          1e-7     6e-8         -              -
transformers' BLIP, oneDNN off                  9e-4     6e-4         -              -
==============================================  =======  ===========  =============  ============

("Labels": pixels that differ, in the worst of the three images, after blur and CRF.) The exact
figures lie up to 8 times as far from the stored logits as rounding the weights moves them (one
image of three; a tenth as far in the others): the stored figures are one outcome of rounding
among many, and a processor that does not meet them is no worse. Whether this one does is asked of
transformers' own BLIP, not of the library: where it meets the stored logits, the library has to
meet everything. Elsewhere these tests are skipped, and tests/test_golden.py compares within the
spread.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ovsslib.pnp.config import PnPConfig
from ovsslib.pnp.pipeline import PnPOVSS
from ovsslib.pnp.presets import preset
from ovsslib.pnp.refine import decide, refine_maps
from ovsslib.pnp.result import Maps, Segmentation
from ovsslib.vlm.blip import net as blip_net
from support.golden_case import CASE, EXPECTED, IMAGES, make_matcher, make_model

TOLERANCE = 1e-6
RELEASED = preset("released-code", threshold=CASE["threshold"])


def logits_by_transformers() -> Tensor:
    """Match logits (3, 2) of transformers' BLIP alone, in float32."""
    longest = max(map(len, CASE["input_ids"]))
    rows = [[CASE["enc_token_id"], *ids[1:]] for ids in CASE["input_ids"]]
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    model = make_model(torch.float32)
    with torch.no_grad():
        seen = model.vision_model(pixel_values=EXPECTED["pixel_values"]).last_hidden_state
        read = model.text_encoder(
            input_ids=ids,
            attention_mask=(ids != 0).long(),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
        ).last_hidden_state
        return model.itm_head(read[:, 0])


def in_steps(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention without fused kernel, each step rounded as the released code's."""
    scores = query @ key.transpose(-1, -2)
    # The image encoder multiplies by the inverse root, the text encoder divides by the root.
    if query.shape[-1] == CASE["vision"]["width"] // CASE["vision"]["heads"]:
        scores = scores * query.shape[-1] ** -0.5
    else:
        scores = scores / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) @ value


@pytest.fixture(scope="module")
def same_rounding() -> None:
    """Go on only where this processor rounds as that of the stored figures."""
    torch.set_num_threads(1)
    error = float((logits_by_transformers() - EXPECTED["itm_logits"]).abs().max())
    if error > TOLERANCE:
        pytest.skip(
            f"float32 is rounded otherwise here: transformers' logits differ by {error:.0e}"
        )


def run(config: PnPConfig) -> tuple[Tensor, list[Maps], list[Segmentation]]:
    """Logits of round 0, maps and segmentations of the whole method on the golden images."""
    matcher = make_matcher(torch.float32)
    matcher.preprocess = lambda images, size=None: EXPECTED["pixel_values"]  # type: ignore
    logits: list[Tensor] = []
    real = matcher.match

    def match(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        logits.append(found.logits.detach())
        return found

    matcher.match = match  # type: ignore[method-assign]
    photos = [EXPECTED[f"photo_{image}"].numpy() for image in IMAGES]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(blip_net, "scaled_dot_product_attention", in_steps)
        patch.setattr(blip_net.TextAttention, "folds", lambda *_: False)
        warnings.simplefilter("ignore")  # NaN planes, as released
        maps = PnPOVSS(matcher, config).maps(photos, CASE["cases"], stages=True)
        return logits[0], maps, [refine_maps(one, config) for one in maps]


@pytest.fixture(scope="module")
def found(same_rounding: None) -> Iterator[tuple[Tensor, list[Maps], list[Segmentation]]]:
    del same_rounding
    return run(RELEASED)


def far(one: Any, name: str) -> float:
    return float(np.abs(np.asarray(one) - EXPECTED[name].numpy()).max())


def test_match_logits(found: tuple[Tensor, list[Maps], list[Segmentation]]) -> None:
    assert far(found[0], "itm_logits") <= TOLERANCE


@pytest.mark.parametrize("image", IMAGES)
def test_maps_planes_and_labels(
    image: int, found: tuple[Tensor, list[Maps], list[Segmentation]]
) -> None:
    maps, result = found[1][image], found[2][image]
    assert maps.stages is not None
    assert result.stages is not None
    assert far(maps.stages["rounds"][0], f"round0_maps_{image}") <= TOLERANCE
    assert far(maps.maps, f"released_sum_maps_{image}") <= TOLERANCE
    planes = result.stages["planes"]
    assert far(planes, f"planes_{image}") <= TOLERANCE
    first = decide(planes, background=True) + 1
    assert (first == EXPECTED[f"labels_argmax_{image}"].numpy()).all()
    assert (result.labels + 1 == EXPECTED[f"labels_blur_crf_{image}"].numpy()).all()


@pytest.mark.parametrize(
    "field", ["round0_twice", "drop_value", "drop_zero", "ties", "align_corners"]
)
def test_the_case_tells_the_papers_behaviour_from_the_released(
    field: str, same_rounding: None
) -> None:
    """The other fields leave this small case as it is: tests of their modules pin them."""
    del same_rounding
    _, maps, results = run(RELEASED.replace(**{field: getattr(preset("blip"), field)}))
    names = [f"released_sum_maps_{image}" for image in IMAGES]
    sums = max(far(one.maps, name) for one, name in zip(maps, names, strict=True))
    assert (sums > 1e-3) == (field != "align_corners")
    wrong = [
        (one.labels + 1 != EXPECTED[f"labels_blur_crf_{image}"].numpy()).mean()
        for image, one in enumerate(results)
    ]
    assert max(wrong) > 0.05
