"""The optimiser of the micro models: Muon for the blocks' matrices, AdamW for everything else.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest matrix with equal
singular values, found by Newton-Schulz iterations. After 240 steps the image encoder alone reached
a mean average precision of 0.56 on things, with AdamW 0.36. A rate of 0.02 learns fastest at first,
but makes the matrices of a model this narrow grow until matching gets worse again after 500 steps.

`torch.optim.Muon` iterates in bfloat16, which takes 25 times as long on a processor without
bfloat16 arithmetic; here the type is a choice (see `Schedule.dtype` in the training loop) and
matrices of one shape go together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

# A matrix of a transformer block, as transformers ("layers.0.", "layer.0.", BridgeTower's
# "cross_modal_text_layers.0."), open_clip ("resblocks.0.") and timm ("blocks.0.") name it.
_BLOCK = re.compile(r"(\b|_)(layers?|resblocks|blocks)\.\d+\.")
# Coefficients of the quintic iteration, from Muon's authors.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(matrices: Tensor, iterations: int = 5) -> Tensor:
    """About the nearest (semi-)orthogonal matrices: singular values go to 0.7 to 1.2.

    Args:
        matrices: `(N, rows, columns)`.
        iterations: Newton-Schulz iterations.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * (gram @ gram)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; for matrices only.

    Args:
        parameters: Matrices.
        lr: Step length as spectral norm (of a wide matrix; tall ones step further).
        weight_decay: Decoupled, scaled by `lr`.
        momentum: Of the gradient's moving average.
        dtype: That the iterations compute in; the weights keep theirs.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.05,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[tuple[nn.Parameter, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                mean = self.state[matrix].setdefault("mean", torch.zeros_like(matrix))
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(mean, group["momentum"])
                shapes.setdefault(matrix.shape, []).append((matrix, ahead))
            for (rows, columns), pairs in shapes.items():
                updates = orthogonalise(torch.stack([ahead for _, ahead in pairs]).to(self.dtype))
                length = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (matrix, _), update in zip(pairs, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(update.to(matrix), alpha=-length)


def optimisers(
    module: nn.Module,
    rate: float,
    matrix_rate: float,
    weight_decay: float,
    dtype: torch.dtype = torch.float32,
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of transformer blocks, AdamW for the rest; of it matrices decay.

    Args:
        module: What is trained.
        rate: AdamW's peak learning rate.
        matrix_rate: Muon's peak learning rate; 0 leaves everything to AdamW.
        weight_decay: Of both; gains, biases and embeddings do not decay.
        dtype: See `Muon`.
    """
    matrices, decayed, rest = [], [], []
    for name, parameter in module.named_parameters():
        if matrix_rate and parameter.ndim == 2 and _BLOCK.search(name):
            matrices.append(parameter)
        elif parameter.ndim > 1 and "embedding" not in name:
            decayed.append(parameter)
        else:
            rest.append(parameter)
    adamw = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(0.9, 0.98),
    )
    return [adamw, Muon(matrices, matrix_rate, weight_decay, dtype=dtype)] if matrices else [adamw]
