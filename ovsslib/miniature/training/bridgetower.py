"""micro-bridgetower: BridgeTower for image-text retrieval, small, with micro-blip's four losses.

1. *Match*: the class tokens of both streams, joined, say whether the caption is true.
2. *Masked words* of true captions, from the last layer's words (both losses of BridgeTower).
3. *Word match*: a linear head says for every class word whether the image shows it. It reads the
   last cross-modal layer but one: what words find in the last layer, no match score reads, and
   what they have found before, `<s>` and the patches can read in the last layer.
4. *Bag of words*: patches of the image encoder score class names and colours, before any text.

Every caption is a row, for patches look at words too. What no caption has a say in is computed once
an image: the image encoder, the patches' look at each other in the first cross-modal layer, and
what words see of them there.

The network is transformers' class, with the attention of `ovsslib.vlm.attention`. The heads of 2, 3
and 4 are dropped when the model is saved.

Letters: B images, M captions each, R = B * M rows, T text tokens, P patches, D width.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ovsslib.errors import OvssError
from ovsslib.lookup import Count
from ovsslib.miniature.training.blip import MEAN, STD
from ovsslib.miniature.training.bpe import PAD, START, STOP, tokenizer, vocabulary
from ovsslib.miniature.training.loop import Layers, Side, Width, check_size
from ovsslib.miniature.training.negatives import IGNORE
from ovsslib.miniature.training.patches import (
    join_windows,
    keep_patches,
    smooth_max,
    split_windows,
)
from ovsslib.miniature.training.rows import Rows
from ovsslib.miniature.training.wordpiece import BAG
from ovsslib.vlm.attention import install
from ovsslib.vlm.bridgetower import across, bridged, cross, head, link


@dataclass(frozen=True)
class BridgeTowerSize:
    """Architecture of micro-bridgetower.

    Attributes:
        side: Of the square input, in pixels.
        patch: Side of a patch, in pixels.
        width: Of all parts. The image encoder has one head for 64 of it, as the architecture says.
        heads: Of the text encoder and the cross-modal layers.
        text_layers: Of either encoder; more image layers than text layers would be read by nothing.
        cross_layers: Cross-modal layers; each takes the output of another layer of the encoders.
        word_layer: Cross-modal layer whose words the word match is read from.
        positions: Most tokens of a text.

    Raises:
        OvssError: The numbers do not fit each other.
    """

    side: Side = 112
    patch: Count = 8
    width: Width = 128
    heads: Count = 4
    text_layers: Layers = 4
    cross_layers: Layers = 3
    word_layer: Count = 2
    positions: Count = 96

    def __post_init__(self) -> None:
        check_size(self, self.heads)
        if self.width < 64 or self.width % (self.width // 64) or self.width % self.heads:
            raise OvssError(
                f"width {self.width} does not fit {self.heads} heads and one image head for 64 "
                "features; use a multiple of 64"
            )
        if not 1 <= self.word_layer <= self.cross_layers <= self.text_layers:
            raise OvssError(
                f"{self.cross_layers} cross-modal layers, words read in layer {self.word_layer}, "
                f"do not fit {self.text_layers} text layers; use as many text layers or more"
            )


def build(size: BridgeTowerSize) -> Any:
    """A randomly initialised `BridgeTowerForImageAndTextRetrieval` of the given size."""
    from transformers import BridgeTowerConfig, BridgeTowerForImageAndTextRetrieval

    config = BridgeTowerConfig(
        hidden_size=size.width,
        num_hidden_layers=size.cross_layers,
        num_attention_heads=size.heads,
        text_config={
            "vocab_size": len(vocabulary()),
            "hidden_size": size.width,
            "intermediate_size": 4 * size.width,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": size.heads,
            "max_position_embeddings": size.positions + PAD + 1,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": PAD,
            "bos_token_id": START,
            "eos_token_id": STOP,
        },
        vision_config={
            "hidden_size": size.width,
            "num_hidden_layers": size.text_layers,
            "patch_size": size.patch,
            "image_size": size.side,
        },
    )
    return BridgeTowerForImageAndTextRetrieval(config)


class MicroBridgeTowerTrainer(nn.Module):
    """The network with its training-only heads; `forward` gives the losses of one batch."""

    def __init__(self, size: BridgeTowerSize) -> None:
        super().__init__()
        self.size = size
        self.net = install(build(size))
        self.net.bridgetower.text_model.pooler = None  # nothing reads it
        self.word_head = nn.Linear(size.width, 1)
        self.bag_head = nn.Linear(size.width, len(BAG))
        self.mask_head = nn.Sequential(
            nn.Linear(size.width, size.width), nn.GELU(), nn.LayerNorm(size.width)
        )

    def encode(
        self, pixels: Tensor, rng: np.random.Generator | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The image encoder.

        With a `rng` (training) some patches are left out and the rest is encoded in separate
        windows, each with its own copy of the class token, which then is the mean of its copies.

        Args:
            pixels: `(B, 3, S, S)`, normalised.
            rng: Source of randomness; None keeps whole images.

        Returns:
            What each cross-modal layer takes, and the last layer's tokens: `(B, 1 + P, D)`.
        """
        towers = self.net.bridgetower
        visual = towers.vision_model.visual
        tokens, windows = visual.embeddings(pixels), 1
        if rng is not None:
            chosen = keep_patches(self.size.side // self.size.patch, len(pixels), rng)
            windows = chosen.shape[1]
            tokens = split_windows(tokens, chosen)
        states, outputs = visual.ln_pre(tokens).transpose(0, 1), []
        for layer in visual.transformer.resblocks:
            states = layer(states)
            outputs.append(visual.ln_post(join_windows(states.transpose(0, 1), windows)))
        outputs = outputs[-self.size.cross_layers :]
        return bridged(towers, "image", outputs), outputs[-1]

    def read_texts(self, rows: dict[str, Tensor], mask: Tensor) -> list[Tensor]:
        """The text encoder: what each cross-modal layer takes, `(R, T, D)`."""
        text = self.net.bridgetower.text_model
        states = text.embeddings(input_ids=rows["ids"], position_ids=rows["places"])
        outputs = []
        for layer in text.encoder.layer:
            states = layer(states, mask)
            outputs.append(states)
        return bridged(self.net.bridgetower, "text", outputs[-self.size.cross_layers :])

    def read(
        self, image: list[Tensor], rows: dict[str, Tensor], hide_cls: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """The cross-modal layers.

        Args:
            image: From `encode`, of B images.
            rows: Tensors of `ovsslib.miniature.training.rows.Rows`, M rows an image.
            hide_cls: `(B,)` bool, images whose class token the words must not see.

        Returns:
            The words after each cross-modal layer `(R, T, D)`, and match logits `(R, 2)`.
        """
        towers, batch = self.net.bridgetower, len(image[0])
        mask = rows["ids"].ne(PAD)[:, None, None]
        texts = self.read_texts(rows, mask)
        copies, last = len(mask) // batch, len(image) - 1
        seen = torch.ones(batch, 1, 1, image[0].shape[1], dtype=torch.bool)
        if hide_cls is not None:
            seen[:, 0, 0, 0] = ~hide_cls
        words, patches = texts[0], image[0]
        text_layer = towers.cross_modal_text_layers[0]
        image_layer = towers.cross_modal_image_layers[0]
        looking, _ = text_layer.attention(words, mask)
        looking = looking.unflatten(0, (batch, copies)).flatten(1, 2)  # (B, M*T, D)
        looking = across(text_layer, looking, patches, seen)
        states = [looking.unflatten(1, (copies, -1)).flatten(0, 1)]
        patches = image_layer.attention(patches)[0].repeat_interleave(copies, 0)
        patches = across(image_layer, patches, words, mask)
        seen = seen.repeat_interleave(copies, 0)
        for index in range(1, len(image)):
            words = link(towers, "text", index, texts[index], states[-1])
            fresh = image[index].repeat_interleave(copies, 0)
            patches = link(towers, "image", index, fresh, patches)
            states.append(cross(towers, "text", index, words, patches, (mask, seen)))
            # Of the last layer's patches only the class token is read.
            patches = cross(towers, "image", index, patches, words, (None, mask), index == last)
        return states, head(self.net, states[-1], patches).float()

    def forward(
        self,
        pixels: Tensor,
        rows: dict[str, Tensor],
        bags: Tensor,
        rng: np.random.Generator,
        *,
        whole: bool = False,
    ) -> dict[str, Tensor]:
        """Losses `match`, `masked`, `word`, `bag`, and accuracies.

        Args:
            pixels: `(B, 3, S, S)` normalised.
            rows: Tensors of `ovsslib.miniature.training.rows.Rows`.
            bags: `(B, len(BAG))` from `ovsslib.miniature.training.wordpiece.bag_of_words`.
            rng: Source of randomness.
            whole: No patch is left out.
        """
        image, tokens = self.encode(pixels, None if whole else rng)
        bag = binary_cross_entropy_with_logits(
            smooth_max(self.bag_head(tokens[:, 1:]).float()), bags
        )
        hide = torch.from_numpy(rng.random(len(pixels)) < 0.5)
        words, logits = self.read(image, rows, hide)
        match = cross_entropy(logits, rows["match"])
        at = rows["word"] != IGNORE
        guesses = self.word_head(words[self.size.word_layer - 1][at])[:, 0].float()
        truth = rows["word"][at]
        false, true = (truth == 0).sum(), (truth == 1).sum()
        # Swapped-in words are rarer: they weigh as much as the true ones, but at most six times.
        weight = torch.where(truth == 1, 1.0, (true / false.clamp(min=1)).clamp(max=6.0))
        word = (
            binary_cross_entropy_with_logits(guesses, truth.float(), weight)
            if at.any()
            else 0 * bag
        )
        hidden = rows["masked"] != IGNORE
        table = self.net.bridgetower.text_model.embeddings.word_embeddings.weight
        guess = (self.mask_head(words[-1][hidden]) @ table.T).float()
        masked = cross_entropy(guess, rows["masked"][hidden]) if hidden.any() else match * 0
        return {
            "match": match,
            "masked": masked,
            "word": word,
            "bag": bag,
            "match_accuracy": (logits.argmax(-1) == rows["match"]).float().mean().detach(),
            "word_accuracy": (guesses[truth == 0] <= 0).float().mean().detach(),
        }


def tensors(rows: Rows) -> dict[str, Tensor]:
    """The arrays of some rows as int64 tensors."""
    return {key: torch.from_numpy(value).long() for key, value in vars(rows).items()}


def save(trainer: MicroBridgeTowerTrainer, folder: Path) -> None:
    """Write model (float16) and processor in the hub's format; training heads are left out."""
    from transformers import BridgeTowerImageProcessor, BridgeTowerProcessor

    folder.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(trainer.net)
    pooler = build(trainer.size).bridgetower.text_model.pooler  # the class has one
    for weight in pooler.parameters():
        torch.nn.init.zeros_(weight)
    model.bridgetower.text_model.pooler = pooler
    model.half().save_pretrained(folder)
    side = trainer.size.side
    images = BridgeTowerImageProcessor(
        size={"shortest_edge": side},
        crop_size={"shortest_edge": side},
        size_divisor=trainer.size.patch,
        image_mean=MEAN,
        image_std=STD,
        resample=3,
    )
    BridgeTowerProcessor(images, tokenizer()).save_pretrained(folder)
