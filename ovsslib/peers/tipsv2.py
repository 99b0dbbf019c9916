"""TIPSv2 (Google DeepMind 2026) read out through the value path of its last layer.

The authors' way of comparing patches with names: in the last layer each patch keeps its own value
in place of what attention would read; output projection, layer scale, residual connection and
feed-forward network stay (MaskCLIP, Zhou et al. 2022). Features are those after the last
normalisation: images and texts share the space without a projection. Pixels are in 0..1, without
mean and standard deviation; the class token and the register (a second class token) are dropped.

The authors' figures follow TCL: shorter side 448, windows of 448 with stride 336 (TCL's own is
224), and a softmax of the cosines, without a temperature, before windows are averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovsslib.peers.dense import DenseClip, DenseConfig
from ovsslib.peers.hub_tower import HubTower
from ovsslib.peers.method import builder

if TYPE_CHECKING:
    from torch import Tensor

    from ovsslib.protocols.protocol import Protocol


@dataclass(frozen=True)
class TipsConfig(DenseConfig):
    """Settings of TIPSv2, besides those of every dense method.

    Attributes:
        templates: As in every dense method; the authors' choice, TCL's nine sentences, gives way to
            a protocol's.
    """

    templates: str | None = "tcl"


class TipsTower(HubTower):
    """TIPSv2 of transformers."""

    what, classes = "TIPSv2", {"tipsv2": "Tipsv2Model"}

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts."""
        found: Tensor = self.model.get_text_features(**self.tokens(texts)).pooler_output
        return found


class Tips(DenseClip):
    """TIPSv2, patch by patch."""

    name = "tipsv2"
    settings = TipsConfig

    def features(self, pixels: Tensor) -> Tensor:
        """Features (B, P, E) of the patches of images (B, 3, S, S)."""
        vision = self.matcher.model.vision_model
        *early, last = vision.encoder.layer
        tokens = vision.embeddings(pixels)
        for layer in early:
            tokens = layer(tokens, None)
        value = last.attention.v_proj(last.norm1(tokens))
        read = tokens + last.layer_scale1(last.attention.o_proj(value))
        read = read + last.layer_scale2(last.mlp(last.norm2(read)))
        features: Tensor = vision.layernorm(read)
        return features[:, 1 + vision.config.num_register_tokens :]

    def for_protocol(self, protocol: Protocol) -> DenseClip:
        """The same method with a protocol's sentences, and with windows at their own size."""
        other = super().for_protocol(protocol)
        if protocol.templates and self.config.templates == "tcl":
            other.config = dataclasses.replace(other.config, templates=protocol.templates)
        return other


build = builder(Tips, TipsTower)
