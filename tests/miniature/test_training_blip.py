"""What a training step of micro-blip says of itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ovsslib.miniature.training.blip import BlipSize, MicroBlipTrainer, tensors
from ovsslib.miniature.training.negatives import Packer
from ovsslib.miniature.training.wordpiece import bag_of_words, tokenizer

SIZE = BlipSize(side=32, patch=8, width=32, heads=2, image_layers=1, text_layers=2, positions=48)
CAPTIONS = [["a red car on the grass", "a car"], ["a blue bus on the road", "a bus and a tree"]]


@pytest.mark.parametrize("true", [True, False])
def test_accuracies_are_shares_of_captions_and_of_false_words(true: bool) -> None:
    """A model that always says "match" is right about captions that are true."""
    rng = np.random.default_rng(0)
    trainer = MicroBlipTrainer(SIZE)
    with torch.no_grad():
        trainer.model.itm_head.weight.zero_()
        trainer.model.itm_head.bias.copy_(torch.tensor([0.0, 1.0]))
        trainer.word_head.weight.zero_()
        trainer.word_head.bias.fill_(-1.0)  # no word is shown
    pack = Packer(tokenizer(), SIZE.positions).pack(
        CAPTIONS, rng, 2, false_share=0.0 if true else 1.0
    )
    bags = torch.from_numpy(np.stack([bag_of_words(captions) for captions in CAPTIONS]))
    figures = trainer(torch.zeros(2, 3, 32, 32), tensors(pack), bags, rng)
    assert figures["match_accuracy"] == (1.0 if true else 0.0)
    if not true:
        assert figures["word_accuracy"] == 1.0
    assert figures["match"].shape == figures["word"].shape == ()
