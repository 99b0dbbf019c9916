"""A model of transformers that gives patches and texts features, as `ovsslib.peers.dense` needs it.

Letters: B images, K names, E width of the space that images and texts share, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ovsslib.peers.hub import Hub
from ovsslib.peers.inputs import Texts, squashed, standardised, whole_patches

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


class HubTower(Hub):
    """A `Hub` with the methods of `ovsslib.peers.tower.Tower` that every dense method uses."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.texts = Texts(self.encode)

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def own_side(self) -> int:
        """Side in pixels of the images that the model was trained with."""
        return int(self.model.config.vision_config.image_size)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Features (N, E) of N texts, of any length."""
        raise NotImplementedError

    def tokens(self, texts: Sequence[str], **options: Any) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, (N, T) each, of N texts.

        Args:
            texts: The longest are cut off.
            **options: Of the tokenizer; by default texts are padded to the longest.
        """
        most = self.model.config.text_config.max_position_embeddings
        options = {"padding": True, "truncation": True, "max_length": most, **options}
        rows = self.processor.tokenizer(list(texts), return_tensors="pt", **options).to(self.device)
        return {key: rows[key] for key in ("input_ids", "attention_mask") if key in rows}

    def prepare(self, images: Sequence[Image.Image], side: int | None = None) -> Tensor:
        """Images as the model takes them: (B, 3, S, S), squashed to the square.

        Resampling and colours are the processor's; its own preparation may cut off the ends of the
        longer side.

        Args:
            images: RGB.
            side: Rounded to whole patches; None for the model's own.
        """
        own = self.processor.image_processor
        length = whole_patches(side or self.own_side, self.patch)
        pixels = squashed(images, length, self.device, int(own.resample)) * own.rescale_factor
        return standardised(pixels, own.image_mean, own.image_std) if own.do_normalize else pixels
