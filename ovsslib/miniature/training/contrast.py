"""micro-blip trained as BLIP was: contrast, match with hard negatives, masked words.

Source: Li et al. (2022), section 3.2, for contrast (ITC) and match (ITM) with negatives that the
contrast picks; Li et al. (2021, ALBEF) for masked words, in place of BLIP's caption decoder. A
last stage has contrast and match alone, as the retrieval fine-tuning of the paper's checkpoint. A
first one has contrast alone: BLIP starts from encoders that were trained before, and negatives
that an untrained contrast picks are not hard.

No loss says of a class word or a patch whether the image shows it: attention learns what matching
needs. The recipe of `ovsslib.miniature.training.blip` trains it to be a map of each word.

A model this small can do all of that without looking at patches: the image's CLS token, or any
patch that has seen the others, says what the image shows, and `[ENC]` alone compares it with the
words. Attention of words then stays at chance. So in half of the steps CLS joins in the image
encoder's last layer only, in half of the images cross-attention does not see it, and in half of the
captions `[ENC]` knows the image through the words alone.

Even so the score reads a thing from tokens of other patches, to which the image encoder has carried
it: erasing the thing's pixels changes the score, erasing its tokens does not
(`ovsslib.evaluate.erasure`), and no map over patches can find it. With `local` two more departures
prevent that. The contrast takes the maximum over patches of each feature instead of CLS
(Ranasinghe et al. 2023, CLIPpy), which asks no token to know more than its patch. After the
contrast the image encoder is locked (Zhai et al. 2022, LiT), so that the match cannot make tokens
global again. Then `BlipForImageTextRetrieval`'s own contrast, which reads CLS, is not trained.

BLIP softens its contrast by a momentum encoder, as captions fit more images than their own. Here
a caption that names nothing but what an image's own captions name is no negative for that image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ovsslib.miniature.training.blip import BlipSize, MicroBlip, mask_head, tensors
from ovsslib.miniature.training.negatives import Caption, Packer
from ovsslib.miniature.training.pairs import contrast_logits, contrast_loss, reworded, swapped
from ovsslib.miniature.training.patches import LATE
from ovsslib.miniature.training.wordpiece import named

WEIGHTS = {"contrast": 1.0, "match": 1.0, "masked": 1.0}
SIZE = BlipSize(heads=8, text_layers=6)
"""The architecture that this recipe is made for."""
HIDDEN = 0.5
"""Share of the images whose CLS token cross-attention does not see."""
BLIND = 0.5
"""Share of the captions whose `[ENC]` sees the image through the other words alone."""
Stage = Literal["contrast", "all", "fine"]


class ContrastTrainer(MicroBlip):
    """micro-blip with a temperature and a head for masked words; `forward` gives the losses.

    Args:
        size: Architecture.
        packer: Makes tokens of captions.
        list_share: Share of the captions that is replaced by a list of their names.
        swap_share: Share of the false captions that has one word swapped; the others are captions
            of other images.
        local: Whether tokens are kept local: the contrast reads patches, and after it the image
            encoder is locked.
    """

    def __init__(
        self,
        size: BlipSize,
        packer: Packer,
        list_share: float = 0.3,
        swap_share: float = 0.5,
        *,
        local: bool = False,
    ) -> None:
        super().__init__(size)
        self.mask_head = mask_head(size.width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.packer, self.list_share, self.swap_share = packer, list_share, swap_share
        self.local = local
        vocab = packer.tokenizer.get_vocab()
        self.cls, self.sep, self.pad = vocab["[CLS]"], vocab["[SEP]"], vocab["[PAD]"]

    def sentences(self, captions: Sequence[str]) -> Tensor:
        """Unit features `(B, E)` of captions that see no image: BLIP's text encoder."""
        rows = [[self.cls, *self.packer.tokens(text)[0], self.sep] for text in captions]
        length = max(map(len, rows))
        ids = torch.tensor([row + [self.pad] * (length - len(row)) for row in rows])
        text = self.model.text_encoder
        states = text.embeddings(input_ids=ids)
        floor = torch.finfo(states.dtype).min
        hidden = torch.zeros(ids.shape, dtype=states.dtype).masked_fill(ids == self.pad, floor)
        for layer in text.encoder.layer:
            states = layer(states, None, attention_mask=hidden[:, None, None])
        return normalize(self.model.text_proj(states[:, 0]).float(), dim=-1)

    def pooled(self, image: Tensor) -> Tensor:
        """Unit features `(B, E)` of images from their tokens `(B, 1 + P, D)`."""
        read = image[:, 1:] if self.local else image[:, :1]
        return normalize(self.model.vision_proj(read).float().amax(1), dim=-1)

    def forward(
        self,
        pixels: Tensor,
        captions: Sequence[Sequence[str]],
        rng: np.random.Generator,
        *,
        whole: bool = False,
        stage: Stage = "all",
    ) -> dict[str, Tensor]:
        """Losses `contrast`, `match`, `masked`, and accuracies.

        Args:
            pixels: `(B, 3, S, S)` normalised.
            captions: Of each image.
            rng: Source of randomness.
            whole: No patch is left out.
            stage: `"contrast"`: that loss alone; `"fine"`: no masked words.
        """
        with torch.set_grad_enabled(stage == "contrast" or not self.local):
            late = not self.local and bool(rng.random() < LATE)
            image = self.encode(pixels, None if whole else rng, late=late)
            features = self.pooled(image)
        pairs = [[reworded(texts, rng, self.list_share) for _ in range(2)] for texts in captions]
        # The longer of two captions: short ones ("grass") fit half of the batch's images.
        own = [max(two, key=lambda caption: len(caption.text)) for two in pairs]
        other = [min(two, key=lambda caption: len(caption.text)) for two in pairs]
        scale = self.log_scale.exp().clamp(max=100)
        texts = self.sentences([caption.text for caption in own])
        logits = contrast_logits(features, texts, scale, captions, own)
        contrast, found = contrast_loss(logits)
        none = torch.zeros(())
        figures = {"contrast": contrast, "match": none, "masked": none, "contrast_accuracy": found}
        if stage == "contrast":
            return figures
        hard = hardest(logits.detach(), rng)
        given = [
            [own[i], other[i], *self._false(captions[i], own, hard[i], rng)]
            for i in range(len(captions))
        ]
        share = 0.0 if stage == "fine" else 0.15
        pack = tensors(self.packer.arrange(given, rng, mask_share=share))
        states = self.read(image, pack, sight(pack, image.shape[1], rng))
        figures["match"], figures["match_accuracy"] = self.match(states, pack)
        figures["masked"] = self.masked(states, pack, self.mask_head)
        return figures

    def _false(
        self,
        texts: Sequence[str],
        own: Sequence[Caption],
        hard: Sequence[int],
        rng: np.random.Generator,
    ) -> list[Caption]:
        """Two captions that do not fit: of other images, or with a word swapped."""
        false = []
        for other in hard:
            text = own[other].text
            caption = Caption(text, True, named([text]) - named(texts), own[other].listed)
            if rng.random() < self.swap_share:
                true = reworded(texts, rng, self.list_share)
                caption = swapped(true, texts, rng, self.packer.known) or caption
            false.append(caption)
        return false


def sight(pack: dict[str, Tensor], tokens: int, rng: np.random.Generator) -> Tensor:
    """Which image tokens each text token may look at: `seen` of `MicroBlip.read`.

    Args:
        pack: Tensors of a `ovsslib.miniature.training.negatives.Pack`.
        tokens: Of an image, 1 + P.
        rng: Says where CLS is hidden (`HIDDEN`) and whose `[ENC]` sees nothing (`BLIND`).
    """
    batch, length = pack["ids"].shape
    seen = torch.ones(batch, length, tokens + 1, dtype=torch.bool)
    seen[..., -1] = False
    seen[torch.from_numpy(rng.random(batch) < HIDDEN), :, 0] = False
    rows, captions = torch.from_numpy(rng.random(pack["match"].shape) < BLIND).nonzero().T
    nothing = torch.arange(tokens + 1) == tokens
    seen[rows, pack["starts"][rows, captions]] = nothing
    return seen


def hardest(logits: Tensor, rng: np.random.Generator, count: int = 2) -> list[list[int]]:
    """Wrong captions for each image, drawn by how well the contrast finds that they fit.

    Args:
        logits: `(B, B)`, the right pairs on the diagonal, -inf where a pair must not be drawn.
        rng: Source of randomness.
        count: Captions an image; one may be drawn twice.

    Returns:
        Of each image, `count` numbers of captions other than its own.
    """
    batch = len(logits)
    shares = logits.masked_fill(torch.eye(batch, dtype=torch.bool), -math.inf).softmax(1).double()
    # An image that all captions may fit has no hard one: any other will do, and is rare.
    even = (1 - torch.eye(batch, dtype=torch.double)) / (batch - 1)
    rows = torch.where(shares.isfinite().all(1, keepdim=True), shares, even).numpy()
    return [rng.choice(batch, count, p=row / row.sum()).tolist() for row in rows]
