"""Sparse matrices as lists of entries per row, times dense matrices.

Letters: R rows, E entries, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Rows(NamedTuple):
    """A sparse matrix.

    Attributes:
        offsets: (R + 1,) int32, where each row's entries begin; the last is E.
        columns: (E,) int32, the column of each entry.
        weights: (E,) float32, its value.
    """

    offsets: Tensor
    columns: Tensor
    weights: Tensor

    def scaled(self, *, rows: Tensor | None = None, columns: Tensor | None = None) -> Rows:
        """With each row multiplied by a number of `rows` (R,), each column by one of `columns`."""
        weights = self.weights
        if rows is not None:
            counts = self.offsets.diff()
            weights = weights * rows.repeat_interleave(counts, output_size=len(weights))
        if columns is not None:
            weights = weights * columns[self.columns]
        return self._replace(weights=weights)


def product(matrix: Rows, dense: Tensor, *, bags: bool) -> Tensor:
    """A sparse matrix times a dense one.

    Args:
        matrix: R rows.
        dense: (columns, C).
        bags: Sum up row by row (`embedding_bag`): entries are added in their order, so that results
            are the same each time. Otherwise by `index_add`, which needs memory for E * C numbers,
            exists on more devices, and on a GPU adds in any order.

    Returns:
        (R, C) of the type of `dense`.
    """
    weights = matrix.weights.to(dense.dtype)
    if bags:
        return F.embedding_bag(
            matrix.columns,
            dense,
            matrix.offsets,
            mode="sum",
            per_sample_weights=weights,
            include_last_offset=True,
        )
    count = len(matrix.offsets) - 1
    row = torch.repeat_interleave(
        torch.arange(count, device=dense.device), matrix.offsets.diff(), output_size=len(weights)
    )
    out = dense.new_zeros(count, dense.shape[1])
    return out.index_add_(0, row, dense[matrix.columns] * weights[:, None])
