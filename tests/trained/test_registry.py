"""What can be trained: every entry runs, and sees no mask."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

from ovsslib.cli.train import MODELS, RECIPES
from ovsslib.lookup import resolve
from ovsslib.miniature.training.card import WHAT
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.trained.registry import TRAINABLE, recipe_name
from support.helpers import ROOT
from support.no_masks import without_masks

SYSTEMS = [name for name, entry in TRAINABLE.items() if entry.size is None]


def test_every_entry_names_what_exists() -> None:
    assert set(MODELS) == set(WHAT)
    for name, entry in TRAINABLE.items():
        begin, sizes = entry.start()
        assert callable(begin), name
        assert sizes().side == 112, name
        Schedule(**entry.schedule)
        Recipe(**entry.recipe)
    assert all(recipe_name(*name.split(" --recipe ")) in TRAINABLE for name in RECIPES)


def test_every_system_has_the_same_budget() -> None:
    given = {json.dumps([*TRAINABLE[name].schedule.items()]) for name in SYSTEMS}
    assert len(given) == 1
    for name in SYSTEMS:
        recipe = dict(TRAINABLE[name].recipe)
        assert recipe.pop("pictures") in (10_000, 60_000)
        assert recipe == {"list_share": 0.3}


BLIND = """
from pathlib import Path
from ovsslib.miniature.training.loop import Schedule
from ovsslib.miniature.training.recipe import Recipe
from ovsslib.trained.registry import TRAINABLE
for name in sys.argv[3:]:
    begin, sizes = TRAINABLE[name].start()
    schedule = Schedule(steps=2, batch=4, dtype=TRAINABLE[name].schedule["dtype"])
    cache, run = Path(sys.argv[1]), Path(sys.argv[2]) / name
    for record in begin(schedule, Recipe(24, 24), cache, run, 2, sizes()):
        print(name, record["step"])
"""


def test_no_system_sees_a_mask(drawn: Path, tmp_path: Path) -> None:
    """They run, with the numbers they are trained in, where no mask can be drawn or read."""
    plain = [name for name in SYSTEMS if name in MODELS]
    done = subprocess.run(
        without_masks(BLIND, drawn, tmp_path, *plain),
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert len(done.stdout.splitlines()) == 2 * len(plain)
    for name in plain:
        assert list((tmp_path / name / "model").glob("*.safetensors")), name


def test_plans_are_data() -> None:
    """What decides a run goes into its recipe, so it must be told as JSON."""
    for name in SYSTEMS:
        entry = TRAINABLE[name]
        plan = resolve(entry.train)(**entry.options)
        assert json.loads(json.dumps(asdict(plan))) == asdict(plan)
