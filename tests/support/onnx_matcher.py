"""An exported model behind the interface of a matcher, so that the whole method runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
import torch

from ovsslib.vlm.protocol import Match, Tokens


class OnnxMatcher:
    """onnxruntime computes; what only prepares inputs is the matcher's that was exported."""

    def __init__(self, file: bytes, matcher: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(file, options)
        self._matcher = matcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._matcher, name)

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """The pixels themselves: the file holds both encoders."""
        return pixels

    def run(self, pixels: torch.Tensor, text: Tokens) -> list[torch.Tensor]:
        """Logits (1, 2), attention and gradient (1, L, A, T, 1+P)."""
        given = {"pixels": pixels.numpy(), "ids": torch.tensor([text.ids]).numpy()}
        return [torch.from_numpy(each) for each in self.session.run(None, given)]

    def match(
        self, tokens: torch.Tensor, texts: Sequence[Tokens], layer: int, *, gradient: bool = False
    ) -> Match:
        """One image and text; autograd finds the file's gradient in a product with it."""
        (text,) = texts
        logits, attention, slope = self.run(tokens, text)
        watched = attention[:, layer - 1].requires_grad_(gradient)
        with torch.enable_grad():
            # Added where its value does not matter: its derivative is the file's gradient.
            part = (watched * slope[:, layer - 1]).sum()
            return Match(logits=logits + part - part.detach(), attention=watched)
