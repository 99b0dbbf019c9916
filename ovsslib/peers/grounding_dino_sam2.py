"""Grounding DINO (Liu et al. 2024, ECCV) finds boxes, SAM 2 (Ravi et al. 2024) their masks.

Names are written into one sentence, "sky. traffic light. house.". The model gives each box a score
for every token; a name's score is the highest among its own tokens, which are known by where they
stand in the sentence. (Reading names back from tokens above a threshold, as demonstrations do,
gives words of no name or of two.) More names than fit one sentence take several.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ovsslib.lookup import Share
from ovsslib.peers.boxes import BoxConfig, Boxes, BoxSegmenter, Detector, Pair, corners_of
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


@dataclass(frozen=True)
class GroundingConfig(BoxConfig):
    """Settings of Grounding DINO with SAM 2.

    Attributes:
        threshold: Boxes with a lower score are left out; transformers' own default.
    """

    threshold: Share = 0.25


class Grounding(Detector):
    """Grounding DINO of transformers."""

    what, classes = "Grounding DINO", {"grounding-dino": "GroundingDinoForObjectDetection"}

    def detect(self, image: Image.Image, names: Sequence[str], prompt: str) -> Boxes:
        """The model's boxes for each sentence, with the best of its names."""
        size, parts = (image.height, image.width), []
        own = self.processor.image_processor
        least = -(-max(size) // own.size["longest_edge"])  # or a thin image would lose all its rows
        seen = image.resize((max(size[1], least), max(size[0], least)))
        sight = own(seen, return_tensors="pt").to(self.device)
        pixels = sight["pixel_values"].to(self.model.dtype)
        for first, sentence, spans in self.sentences(names, prompt):
            rows = self.processor.tokenizer(sentence, **self._options, return_tensors="pt")
            places = rows.pop("offset_mapping")[0].tolist()
            found = self.model(
                pixel_values=pixels, pixel_mask=sight["pixel_mask"], **rows.to(self.device)
            )
            best, which = name_logits(found.logits[0].float(), places, spans).max(1)
            corners = corners_of(found.pred_boxes[0], size, (float(size[1]), float(size[0])))
            parts.append(Boxes(corners, best.sigmoid(), first + which))
        return Boxes(
            torch.cat([part.corners for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.names for part in parts]),
        )

    @property
    def _options(self) -> dict[str, Any]:
        """How sentences become tokens."""
        most = self.model.config.max_text_len
        return {"return_offsets_mapping": True, "truncation": True, "max_length": most}

    def sentences(
        self, names: Sequence[str], prompt: str = ""
    ) -> list[tuple[int, str, list[tuple[int, int]]]]:
        """Names in as few sentences as the model's length allows.

        Full stops and question marks inside names would end a phrase; they become spaces.

        Returns:
            Of each sentence the index of its first name, itself, and where in it (characters, from
            and to) each of its names stands.
        """
        out: list[tuple[int, str, list[tuple[int, int]]]] = []
        room = 0
        for index, name in enumerate(names):
            words = " ".join(re.sub("[.?]", " ", f"{prompt} {name}".lower()).split())
            need = len(self.processor.tokenizer(words, add_special_tokens=False)["input_ids"]) + 1
            if need > room:
                room = self.model.config.max_text_len - 2
                out.append((index, "", []))
            room -= need
            first, sentence, spans = out[-1]
            start = len(sentence) + bool(sentence)
            sentence = f"{sentence} {words}.".strip()
            out[-1] = (first, sentence, [*spans, (start, start + len(words))])
        return out


def name_logits(
    tokens: Tensor, places: Sequence[Sequence[int]], spans: Sequence[tuple[int, int]]
) -> Tensor:
    """Logits (N, K) of N boxes for K names: a name's highest token; without any, minus infinity.

    Args:
        tokens: (N, T) logits of boxes for tokens.
        places: Of each token where in the sentence it stands, from and to; special ones nowhere.
        spans: Of each name the same.

    Example:
        >>> tokens = torch.tensor([[0.9, 0.1, 0.3, 0.8, 0.2]])
        >>> name_logits(tokens, [(0, 0), (0, 3), (4, 7), (7, 8), (0, 0)], [(0, 7)]).item()
        0.30000001192092896
    """
    logits = torch.full((len(tokens), len(spans)), -torch.inf, device=tokens.device)
    for k, (start, stop) in enumerate(spans):
        own = [t for t, (a, b) in enumerate(places) if a < b and start <= a and b <= stop]
        if own:
            logits[:, k] = tokens[:, own].amax(1)
    return logits


class GroundingPair(Pair):
    """Grounding DINO and SAM 2."""

    detector_class = Grounding


class GroundingSam(BoxSegmenter):
    """Grounding DINO with SAM 2."""

    name = "grounding-dino-sam2"
    settings: ClassVar[type[GroundingConfig]] = GroundingConfig


build = builder(GroundingSam, GroundingPair)
