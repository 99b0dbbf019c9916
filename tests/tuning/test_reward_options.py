"""Options of the reward: wrong ones are refused, names and combinations are those of the fields."""

from __future__ import annotations

import pytest

from ovsslib.errors import OvssError
from ovsslib.tuning.reward_options import RewardOptions


def test_the_label_names_what_differs_from_the_paper() -> None:
    assert RewardOptions(model="another").label == "paper"
    changed = RewardOptions(mask="soft", token_contrast=True)
    assert changed.label == "mask=soft, token_contrast=true"


def test_all_combinations_once_and_its_own_first() -> None:
    own = RewardOptions(scope="image")
    found = own.ablated(["scope", "contrast", "token_contrast"])
    assert found[0] == own
    assert len(set(found)) == len(found) == 8
    assert own.ablated([]) == [own]
    with pytest.raises(OvssError, match="did you mean 'contrast'"):
        own.ablated(["contrat"])


def test_sight_is_what_clip_is_shown() -> None:
    plain = RewardOptions()
    assert plain.sight == RewardOptions(scope="image", outside="penalised").sight
    assert plain.sight != RewardOptions(contrast="mean").sight
