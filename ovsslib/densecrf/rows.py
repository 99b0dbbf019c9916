"""Sparse matrices as lists of entries per row, times dense matrices.

Letters: R rows, E entries, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
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
            weights = weights * torch.repeat_interleave(rows, self.offsets.diff())
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


def stacked(matrices: Sequence[Rows], widths: Sequence[int]) -> Rows:
    """Matrices along the diagonal of one.

    Args:
        matrices: At least one.
        widths: How many columns each has.

    Example:
        >>> one = Rows(torch.tensor([0, 1]), torch.tensor([1]), torch.tensor([5.0]))
        >>> [part.tolist() for part in stacked([one, one], [2, 2])]
        [[0, 1, 2], [1, 3], [5.0, 5.0]]
    """
    offsets, columns, entries, left = [matrices[0].offsets[:1]], [], 0, 0
    for matrix, width in zip(matrices, widths, strict=True):
        offsets.append(matrix.offsets[1:] + entries)
        columns.append(matrix.columns + left)
        entries += len(matrix.columns)
        left += width
    return Rows(torch.cat(offsets), torch.cat(columns), torch.cat([m.weights for m in matrices]))
