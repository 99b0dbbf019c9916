"""A training loop that survives kill -9: what a step does depends on (seed, step) alone.

State is written to a temporary name and renamed, so a run continues from its last saved step and
ends with the very weights of an undisturbed run.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ovsslib.errors import OvssError
from ovsslib.lookup import Amount, Count, Positive, Range, Seed, Share, check_fields
from ovsslib.miniature.training.optim import optimisers

Side = Annotated[int, Range(8, 128)]
Width = Annotated[int, Range(16, 4096)]
Layers = Annotated[int, Range(1, 64)]


def check_size(size: Any, heads: int) -> None:
    """Check a model's architecture before anything is drawn or built.

    Args:
        size: Its dataclass, with `side`, `patch` and `width`.
        heads: What the width must be a multiple of.

    Raises:
        OvssError: A number is out of range, or does not fit another.
    """
    check_fields(size)
    for name, unit, of in (("side", size.patch, "patch"), ("width", heads, "heads")):
        if getattr(size, name) % unit:
            raise OvssError(f"{name} {getattr(size, name)} is not a multiple of {unit} ({of})")


@dataclass(frozen=True)
class Schedule:
    """One cycle: up to the rates within `warmup` (a share of `steps`), a cosine to 0.

    `rate` is AdamW's, `matrix_rate` Muon's (see `ovsslib.miniature.training.optim`).
    `dtype` is the type of the matrix products, `"float32"` or `"bfloat16"` (autocast): the
    latter takes about half the time on a processor with bfloat16 arithmetic and many times as long
    on others. Weights and losses are float32 in either case.
    """

    steps: Count = 3000
    batch: Count = 64
    rate: Positive = 1.5e-3
    matrix_rate: Amount = 0.008
    warmup: Share = 0.1
    weight_decay: Amount = 0.05
    clip: Positive = 1.0
    save_every: Count = 100
    seed: Seed = 0
    dtype: Literal["bfloat16", "float32"] = "float32"

    def __post_init__(self) -> None:
        """Check types and ranges."""
        check_fields(self)

    def share_at(self, step: int) -> float:
        """Share of the peak rates that a 0-based step takes, in 0..1."""
        ramp = max(1, int(self.warmup * self.steps))
        if step < ramp:
            return (step + 1) / ramp
        return 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, self.steps - ramp)))


def batch_indices(schedule: Schedule, step: int, n: int) -> np.ndarray:
    """Which of `n` examples a step sees: a fresh permutation in every epoch."""
    per_epoch = max(1, n // schedule.batch)
    epoch, within = divmod(step, per_epoch)
    order = np.random.default_rng([schedule.seed, 1, epoch]).permutation(n)
    return order[within * schedule.batch : (within + 1) * schedule.batch]


def _restore(
    path: Path,
    module: nn.Module,
    chosen: list[torch.optim.Optimizer],
    recipe: dict[str, Any],
) -> int:
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise OvssError(
            f"cannot resume from {path.name} ({error}): delete it to start again"
        ) from error
    if json.loads(state["recipe"]) != json.loads(json.dumps(recipe)):
        raise OvssError(
            f"{path.name} belongs to another recipe: use another --run folder or delete it"
        )
    module.load_state_dict(state["module"])
    for optimiser, saved in zip(chosen, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    return int(state["step"])


def run(
    module: nn.Module,
    step_losses: Callable[[int, np.random.Generator], dict[str, Tensor]],
    weights: dict[str, float],
    schedule: Schedule,
    folder: Path,
    recipe: dict[str, Any],
) -> Iterator[dict[str, float]]:
    """Train, yielding a record for every step done.

    Args:
        module: What is trained.
        step_losses: Losses (and figures) of one step, from the step and its own generator.
        weights: The losses that are summed, with their weights.
        schedule: Length, rate, batch, seed.
        folder: Holds `state.pt` and `curve.jsonl`; a run found there is continued.
        recipe: Everything that decides the result; a state of another recipe is refused.

    Yields:
        `step` (1-based), `rate`, `seconds` and every figure of `step_losses`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = schedule.dtype == "bfloat16"
    chosen = optimisers(
        module,
        schedule.rate,
        schedule.matrix_rate,
        schedule.weight_decay,
        torch.bfloat16 if half else torch.float32,
    )
    peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in chosen]
    full_recipe = {"schedule": asdict(schedule), "weights": weights, **recipe}
    state, curve = folder / "state.pt", folder / "curve.jsonl"
    (folder / "recipe.json").write_text(json.dumps(full_recipe, indent=1) + "\n")
    start = _restore(state, module, chosen, full_recipe) if state.exists() else 0
    if curve.exists():  # steps after the last saved state are done again
        records = [
            json.loads(line) for line in curve.read_text().splitlines() if line.endswith("}")
        ]
        curve.write_text("".join(json.dumps(r) + "\n" for r in records if r["step"] <= start))
    module.train()
    for step in range(start, schedule.steps):
        begun = time.perf_counter()
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        share = schedule.share_at(step)
        for optimiser, rates in zip(chosen, peaks, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * share
        # The fused kernel's backward pass takes half as long again on a processor.
        with sdpa_kernel(SDPBackend.MATH), torch.autocast("cpu", torch.bfloat16, enabled=half):
            figures = step_losses(step, np.random.default_rng([schedule.seed, 2, step]))
        loss = sum((weight * figures[name] for name, weight in weights.items()), torch.zeros(()))
        if not torch.isfinite(loss):
            raise OvssError(
                f"the loss is {loss.item()} at step {step + 1}: lower the learning rate"
            )
        module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), schedule.clip)
        for optimiser in chosen:
            optimiser.step()
        record = {name: round(float(value.detach()), 5) for name, value in figures.items()}
        record |= {
            "step": step + 1,
            "rate": schedule.rate * share,
            "seconds": round(time.perf_counter() - begun, 3),
        }
        with curve.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            temporary = state.with_suffix(".tmp")
            torch.save(
                {
                    "module": module.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in chosen],
                    "step": step + 1,
                    "recipe": json.dumps(full_recipe),
                },
                temporary,
            )
            temporary.replace(state)
        yield record
