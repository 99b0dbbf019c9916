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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ovsslib.errors import OvssError


@dataclass(frozen=True)
class Schedule:
    """One-cycle AdamW: up to ``rate`` within ``warmup`` (a share of ``steps``), a cosine to 0."""

    steps: int = 3000
    batch: int = 64
    rate: float = 1.5e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    clip: float = 1.0
    save_every: int = 100
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a 0-based step."""
        ramp = max(1, int(self.warmup * self.steps))
        if step < ramp:
            return self.rate * (step + 1) / ramp
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, self.steps - ramp)))


def batch_indices(schedule: Schedule, step: int, n: int) -> np.ndarray:
    """Which of ``n`` examples a step sees: a fresh permutation in every epoch."""
    per_epoch = max(1, n // schedule.batch)
    epoch, within = divmod(step, per_epoch)
    order = np.random.default_rng([schedule.seed, 1, epoch]).permutation(n)
    return order[within * schedule.batch : (within + 1) * schedule.batch]


def _groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay, gains, biases and embeddings do not."""
    decayed = [p for name, p in module.named_parameters() if p.ndim > 1 and "embedding" not in name]
    chosen = {id(p) for p in decayed}
    rest = [p for p in module.parameters() if id(p) not in chosen]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


def _restore(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, recipe: dict[str, Any]
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
    optimiser.load_state_dict(state["optimiser"])
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
        module: what is trained.
        step_losses: losses (and figures) of one step, from the step and its own generator.
        weights: the losses that are summed, with their weights.
        schedule: length, rate, batch, seed.
        folder: holds ``state.pt`` and ``curve.jsonl``; a run found there is continued.
        recipe: everything that decides the result; a state of another recipe is refused.

    Yields:
        ``step`` (1-based), ``rate``, ``seconds`` and every figure of ``step_losses``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimiser = torch.optim.AdamW(
        _groups(module, schedule.weight_decay), lr=schedule.rate, betas=(0.9, 0.98)
    )
    full_recipe = {"schedule": asdict(schedule), "weights": weights, **recipe}
    state, curve = folder / "state.pt", folder / "curve.jsonl"
    (folder / "recipe.json").write_text(json.dumps(full_recipe, indent=1) + "\n")
    start = _restore(state, module, optimiser, full_recipe) if state.exists() else 0
    if curve.exists():  # steps after the last saved state are done again
        records = [
            json.loads(line) for line in curve.read_text().splitlines() if line.endswith("}")
        ]
        curve.write_text("".join(json.dumps(r) + "\n" for r in records if r["step"] <= start))
    module.train()
    for step in range(start, schedule.steps):
        begun = time.perf_counter()
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        figures = step_losses(step, np.random.default_rng([schedule.seed, 2, step]))
        loss = sum((weight * figures[name] for name, weight in weights.items()), torch.zeros(()))
        if not torch.isfinite(loss):
            raise OvssError(
                f"the loss is {float(loss)} at step {step + 1}: lower the learning rate"
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), schedule.clip)
        optimiser.step()
        record = {name: round(float(value.detach()), 5) for name, value in figures.items()}
        record |= {
            "step": step + 1,
            "rate": schedule.rate_at(step),
            "seconds": round(time.perf_counter() - begun, 3),
        }
        with curve.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            temporary = state.with_suffix(".tmp")
            torch.save(
                {
                    "module": module.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "step": step + 1,
                    "recipe": json.dumps(full_recipe),
                },
                temporary,
            )
            temporary.replace(state)
        yield record
