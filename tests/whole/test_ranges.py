"""Every number that a setting, a function or a command takes has its range."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
import typing
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

import ovsslib
from ovsslib.bench.counting import evaluation
from ovsslib.bench.engines import overhead
from ovsslib.bench.refine import pipeline, record
from ovsslib.bench.salience import Spec, versus
from ovsslib.bench.tuning import tuning
from ovsslib.cli.main import COMMANDS
from ovsslib.datasets import load_dataset
from ovsslib.datasets.verify import verify
from ovsslib.errors import OvssError
from ovsslib.evaluate.localisation import layer_head_auc
from ovsslib.evaluate.spec import RunSpec
from ovsslib.evaluate.task import make_task
from ovsslib.lookup import Range, kinds_of
from ovsslib.metrics.iou import resample_weights
from ovsslib.miniature.diorama.make import write_split
from support.helpers import ovss

# What its fields without a default are given.
NEEDED: dict[str, dict[str, Any]] = {
    "GPT4o": {"answers": "answers.jsonl"},
    "Protocol": {"name": "own"},
    "Space": {"layers": (1,), "heads": (1,)},
    "Tuning": {"spec": RunSpec()},
    "Window": {"short": 8, "crop": 8, "stride": 8},
}
# What is counted, not set; the base class of GPT4o, and a data set's own numbers.
NO_SETTINGS = {"AskReport", "Log", "Server"}


def numbers_in(kind: Any) -> Iterator[tuple[type, Range | None]]:
    """Number types within a declared type, with their ranges."""
    if typing.get_origin(kind) is Annotated and typing.get_args(kind)[0] in (int, float):
        yield typing.get_args(kind)
    elif kind in (int, float):
        yield kind, None
    else:
        for inner in typing.get_args(kind):
            yield from numbers_in(inner)


def settings_classes() -> Iterator[type]:
    """Dataclasses that can be made of defaults, or are named above, and hold numbers."""
    for module in pkgutil.walk_packages(ovsslib.__path__, "ovsslib."):
        if module.name.endswith("__main__") or ".lavis" in module.name:
            continue
        if ".densecrf" in module.name:  # it imports nothing of ours, and has tests of its own
            continue
        for name, kind in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(kind) or not dataclasses.is_dataclass(kind):
                continue
            bare = inspect.signature(kind).parameters.values()
            whole = all(each.default is not inspect.Parameter.empty for each in bare)
            if kind.__module__ == module.name and (name in NEEDED or whole):
                yield kind


CLASSES = {
    kind.__name__: kind
    for kind in settings_classes()
    if kind.__name__ not in NO_SETTINGS and any(numbers_in(k) for k in kinds_of(kind).values())
}
FIELDS = [
    pytest.param(kind, field, number, limits, id=f"{name}.{field}")
    for name, kind in CLASSES.items()
    for field, declared in kinds_of(kind).items()
    for number, limits in numbers_in(declared)
]


def outside(number: type, limits: Range) -> list[Any]:
    """Values that the range refuses, the nearest among them."""
    step = 1 if number is int else 1e-6
    wrong: list[Any] = ["3", True, b"3", limits.low if limits.above else limits.low - step]
    wrong += [] if limits.high == math.inf else [limits.high + step]
    return [*wrong, 1.5] if number is int else [*wrong, math.nan, math.inf, -math.inf]


@pytest.mark.parametrize(("kind", "field", "number", "limits"), FIELDS)
def test_a_setting_refuses_what_is_out_of_range(
    kind: type, field: str, number: type, limits: Range | None
) -> None:
    needed = NEEDED.get(kind.__name__, {})
    assert limits is not None, "declare it with a range, such as ovsslib.lookup.Count"
    for value in outside(number, limits):
        many = "tuple" in str(kinds_of(kind)[field])
        given = {field: (value,) if many else value}
        with pytest.raises(OvssError, match=rf"\b{field} must be [^\n]*, got ") as error:
            kind(**needed | given)
        assert "\n" not in str(error.value)


def test_a_list_of_settings_is_not_empty() -> None:
    for kind, field in (("Space", "layers"), ("Space", "heads"), ("Tuning", "blurs")):
        with pytest.raises(OvssError, match=f"{field} must be .* of length >= 1, got "):
            CLASSES[kind](**NEEDED[kind] | {field: ()})


@pytest.mark.parametrize("name", ["thresholds", "blurs"])
def test_settings_keep_their_values(name: str) -> None:
    assert getattr(CLASSES["Tuning"](**NEEDED["Tuning"], **{name: (0.0, 1)}), name) == (0.0, 1)


# Each must refuse its numbers before it looks at anything else: there is nothing to look at.
NOTHING: Any = None
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, list[Any]]]] = {
    "resample_weights": (
        partial(resample_weights, 3),
        {"resamples": [0, -1, 1.0], "seed": [-1, 2**32]},
    ),
    "layer_head_auc": (partial(layer_head_auc, NOTHING, NOTHING), {"limit": [0, -1, "3"]}),
    "make_task": (partial(make_task, "diorama"), {"limit": [0, -1, True]}),
    "verify": (partial(verify, load_dataset("diorama")), {"threads": [0, -1, 10**6]}),
    "versus": (
        partial(versus, Spec(vlm="micro-blip")),
        {"repeats": [0], "tolerance": [-1.0, math.nan, math.inf], "matmul_size": [0]},
    ),
    "pipeline": (
        lambda **given: pipeline("micro-blip", **{"refiners": [0], "images": 1} | given),
        {"refiners": [[-1]], "images": [0], "batch": [0, -1], "threads": [0]},
    ),
    "record": (
        lambda **given: record(
            **{"sizes": [(9, 9)], "classes": [1], "images": 1, "streams": None} | given
        ),
        {"sizes": [[(0, 9)], []], "classes": [[0], []], "images": [0]},
    ),
    "evaluation": (evaluation, {"images": [0], "size": [(0, 9), (9, 65_501)], "classes": [0, 172]}),
    "overhead": (overhead, {"shards": [1], "workers": [0]}),
    "tuning": (
        lambda **given: tuning(
            "micro-blip", **{"images": 1, "candidates": 1, "fair": 1, "usual": 0} | given
        ),
        {"images": [0], "candidates": [0], "fair": [0], "usual": [-1], "threads": [0]},
    ),
    "write_split": (
        lambda **given: list(write_split(Path("none"), "val", **{"n": 1} | given)),
        {"n": [0, -1, 10**7], "seed": [-1, 2**32]},
    ),
}


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, (_, wrong) in FUNCTIONS.items() for key in wrong]
)
def test_a_function_refuses_what_is_out_of_range(
    name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, wrong = FUNCTIONS[name]
    for value in wrong[argument]:
        with pytest.raises(OvssError, match=rf"\b{argument} must be "):
            call(**{argument: value})
    assert list(tmp_path.iterdir()) == []


def options_of(app: typer.Typer, path: str) -> Iterator[tuple[str, str, str, Any]]:
    """Command, option, annotation and typer's own record of all that a command takes."""
    for command in app.registered_commands:
        own = command.name or getattr(command.callback, "__name__", "").rstrip("_")
        words = path if path == own else f"{path} {own}"
        for name, each in inspect.signature(command.callback or (lambda: None)).parameters.items():
            yield words, name, str(each.annotation), each.default
    for group in app.registered_groups:
        yield from options_of(group.typer_instance, f"{path} {group.name}")


NUMBERS = [
    pytest.param(command, name, "float" in kind, option, id=f"{command} {name}")
    for top, (module, _) in COMMANDS.items()
    for command, name, kind, option in options_of(importlib.import_module(module).app, top)
    if re.search(r"\b(int|float)\b", kind)
]
FIRST = {"filter ask": ["answers.jsonl"], "train": ["micro-blip"], "data verify": ["diorama"]}
BESIDE = {"max_cost": ["--price-in", "1", "--price-out", "1"]}


def test_the_walk_sees_commands_within_commands() -> None:
    seen = {param.id for param in NUMBERS}
    assert {"run batch", "bench salience threads", "filter ask max_cost", "train rate"} <= seen
    assert len(seen) > 60


@pytest.mark.parametrize(("command", "name", "real", "option"), NUMBERS)
def test_an_option_refuses_what_is_out_of_range(
    command: str,
    name: str,
    real: bool,
    option: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert option.min is not None, "give the option its least value, min=…"
    flag = next((d for d in option.param_decls or () if d.startswith("--")), None)
    flag = flag or f"--{name.replace('_', '-')}"
    wrong = [option.min - 1] + ([] if option.max is None else [option.max + 1])
    for value in [*wrong, "x", *(("nan", "inf", "-inf") if real else ("1.5",))]:
        words = [*command.split(), *FIRST.get(command, []), *BESIDE.get(name, [])]
        done = ovss(*words, f"{flag}={value}")
        assert done.exit_code == 2, done.output
        assert name in done.stderr.replace("-", "_"), done.stderr
        assert "unexpected" not in done.stderr
    assert list(tmp_path.iterdir()) == []
