"""Images segmented again: what is shown is what was counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ovsslib.datasets import load_dataset
from ovsslib.evaluate.run import load_models, open_task, run_many
from ovsslib.evaluate.spec import Execution, RunSpec
from ovsslib.evaluate.task import make_task
from ovsslib.filters.base import ClassFilter
from ovsslib.metrics.counts import COUNT_NAMES, image_counts
from ovsslib.reports.examples import segment_again
from support.colours import Colours
from support.helpers import write_voc

QUICK = {"layer": 1, "head": None, "rounds": 2, "patches_per_round": 5}


@pytest.mark.parametrize("protocol", ["pnp", "pnp-fixed", "tcl"])
def test_the_labels_are_those_that_were_counted(tiny: Path, tmp_path: Path, protocol: str) -> None:
    how = Execution(batch=1, device="cpu", root=write_voc(tmp_path / "data", 3))
    spec = RunSpec(vlm=str(tiny), config=QUICK, dataset="voc21", protocol=protocol)
    result = run_many({"run": spec}, how)["run"]
    work, model = open_task(spec, how), load_models({"run": spec}, how)["run"]
    names = result.ids[:1:-1]
    for example, name in zip(segment_again(model, work, names), names, strict=True):
        ignore = None if work.protocol.void == "background" else 255
        found = image_counts(example.labels, example.truth, 21, ignore=ignore)
        row = result.ids.index(name)
        for key in COUNT_NAMES:
            assert np.array_equal(getattr(found, key)[0], getattr(result.counts, key)[row])
        assert example.image.shape[:2] == example.truth.shape


def test_any_method_and_a_filter_with_a_model(tmp_path: Path) -> None:
    data = load_dataset("voc21", write_voc(tmp_path / "data", 2), "val")
    work = make_task(data, protocol="pnp-fixed")
    calls: list[object] = []

    class Recording(ClassFilter):
        def __call__(self, dataset: object, name: str) -> tuple[int, ...]:
            return (3,)

        def use(self, matcher: object) -> None:
            calls.append(matcher)

        def prepare(self, dataset: object, names: object, progress: object = None) -> None:
            calls.append(names)

    vars(work)["class_filter"] = Recording()
    (example,) = segment_again(Colours(), work, data.ids[1:])
    assert calls == [data.ids[1:]]  # Colours has no model to offer
    assert set(np.unique(example.labels)) <= {0, 3}
    assert example.name == data.ids[1]
