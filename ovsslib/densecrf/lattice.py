r"""The permutohedral lattice (Adams, Baek and Davis 2010): which points lie where.

Points with d features are moved into the plane of \mathbb{R}^{d+1} whose coordinates sum to 0.
There the vertices of the lattice are the integer points whose coordinates all have the same
remainder modulo D = d + 1. Each point lies in a simplex with one vertex of each remainder 0..d.

All vertices with remainder r have coordinates D q + r with integers q, so d of these integers,
written as the digits of one number (the code), name a vertex; the last coordinate follows from the
sum. Vertices are numbered by remainder, then by code. Neighbours along an axis are found by adding
a constant to codes, so that sorting is all that is needed, and no hash table.

Letters: N points, d features, D = d + 1, M vertices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ovsslib.densecrf.rows import Rows

FAR = 2.0**17
"""Features beyond this many standard deviations have no place among vertices in float32."""

TOO_SMALL = "standard deviations are too small for this image: use larger ones"


@dataclass(frozen=True)
class Lattice:
    """The vertices around a set of points.

    Attributes:
        points: N.
        vertices: M.
        splat: M + 1 rows, N columns: what each vertex gets from the points; the last row is 0.
        blur: D square matrices of M + 1 rows, one for each axis: half of both neighbours is added.
        slice: N rows, M columns: `splat` transposed.
    """

    points: int
    vertices: int
    splat: Rows
    blur: tuple[Rows, ...]
    slice: Rows


def build(features: Tensor, owner: Tensor | None = None, images: int = 1) -> Lattice:
    """Find the vertices around points, and how they are connected.

    Args:
        features: (d, N) float32, in standard deviations of the kernel; N at least 1.
        owner: (N,) the image of each point, from 0; points of different images share no vertex.
            None where there is one image.
        images: How many there are.

    Returns:
        The lattice, on the device of the features.

    Raises:
        ValueError: The features are more than `FAR`, or spread over so many standard deviations
            that codes do not fit into 64 bits.
    """
    d, count = features.shape
    if not features.abs().max() < FAR:
        raise ValueError(TOO_SMALL)
    base, rank, shares = simplex(features)
    low = base.amin(1) - 1  # room for the digits of neighbours on both sides
    spans = (base.amax(1) - low + 3).tolist()
    steps = [math.prod(spans[i + 1 : d]) for i in range(d)] + [0]
    if images * math.prod(spans[:d]) >= 2**62:
        raise ValueError(TOO_SMALL)
    step = torch.tensor(steps, device=features.device)
    codes = ((base[:d] - low[:d, None]).long() * step[:d, None]).sum(0)
    if owner is not None:
        codes += owner * math.prod(spans[:d])
    by_rank = torch.empty_like(rank).scatter_(0, rank, step[:, None].expand(d + 1, count))
    found: list[Tensor] = []
    members: list[Tensor] = []
    sizes: list[Tensor] = []
    names = torch.empty(d + 1, count, dtype=torch.int32, device=features.device)
    total = 0
    for remainder in range(d + 1):
        if remainder:
            # The vertex of the next remainder: one coordinate, in order of rank, goes down by D.
            codes = codes - by_rank[d + 1 - remainder]
        ordered, order = _sorted(codes)
        first = torch.ones(count, dtype=torch.bool, device=features.device)
        torch.ne(ordered[1:], ordered[:-1], out=first[1:])
        starts = first.nonzero()[:, 0]
        number = first.cumsum(0, dtype=torch.int32) + (total - 1)
        names[remainder][order] = number
        found.append(ordered[starts])
        members.append(order)
        sizes.append(torch.diff(starts, append=starts.new_full((1,), count)))
        total += len(starts)
    weights = torch.cat([shares[r][order] for r, order in enumerate(members)])
    sizes.append(sizes[0].new_zeros(1))
    splat = Rows(_offsets(torch.cat(sizes)), torch.cat(members).int(), weights)
    rows = torch.arange(count + 1, dtype=torch.int32, device=features.device) * (d + 1)
    back = Rows(rows, names.t().reshape(-1), shares.t().reshape(-1))
    return Lattice(count, total, splat, _blur(found, steps), back)


def simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The simplex around each point (Adams et al. 2010, section 3.1).

    Args:
        features: (d, N) float32.

    Returns:
        Of the vertex with remainder 0 the coordinates divided by D, (D, N) int32; the rank of each
        coordinate among the point's distances from that vertex, (D, N) int64, 0 for the largest;
        and the barycentric weights of the vertices with remainder 0..d, (D, N) float32, which sum
        to 1.
    """
    d, count = features.shape
    size = d + 1
    place = elevate(features)
    base = torch.round(place * float(np.float32(1 / size)))
    away = place - base * size
    # Of equal distances the first coordinate's counts as the larger.
    rank = torch.arange(size, dtype=torch.int8, device=features.device)[:, None].repeat(1, count)
    for i in range(size):
        for j in range(i + 1, size):
            less = away[i] < away[j]
            rank[i] += less
            rank[j] -= less.to(torch.int8)
    # Coordinates of a vertex sum to 0. Where rounding left a sum, those rounded farthest go back.
    rank += base.sum(0).to(torch.int8)
    shift = (rank < 0).to(torch.int8) - (rank > d).to(torch.int8)
    rank += shift * size
    base += shift
    part = (place - base * size) * float(np.float32(1 / size))
    order = rank.long()
    part = torch.empty_like(part).scatter_(0, order, part)
    shares = torch.empty_like(part)
    shares[0] = part[d] + (1 - part[0])
    shares[1:] = part[:d].flip(0) - part[1:].flip(0)
    return base.int(), order, shares


def elevate(features: Tensor) -> Tensor:
    """Move points into the plane of the lattice (Adams et al. 2010, section 3.1).

    Scaled such that splatting, blurring and slicing together have a standard deviation of 1.

    Args:
        features: (d, N) float32.

    Returns:
        (D, N) float32 whose columns sum to 0.
    """
    d, count = features.shape
    scale = float(np.float32(math.sqrt(2 / 3) * (d + 1)))
    place = features.new_empty(d + 1, count)
    total = features.new_zeros(count)
    for j in range(d, 0, -1):
        part = features[j - 1] * float(np.float32(scale / math.sqrt(j * (j + 1))))
        place[j] = total - j * part
        total = total + part
    place[0] = total
    return place


def _blur(found: list[Tensor], steps: list[int]) -> tuple[Rows, ...]:
    """The matrices of the blur along each axis.

    Args:
        found: Per remainder the codes of its vertices, ascending.
        steps: By how much a code grows when a digit does, (D,); 0 for the last coordinate.
    """
    starts = np.cumsum([0, *map(len, found)]).tolist()
    count = starts[-1]
    device = found[0].device
    # Where there is no neighbour, row M stands for one, which is 0: all rows have three entries.
    offsets = 3 * torch.arange(count + 2, dtype=torch.int32, device=device)
    weights = torch.tensor([0.5, 1, 0.5], device=device).repeat(count + 1)
    itself = torch.arange(count + 1, dtype=torch.int32, device=device)
    out = []
    for step in steps:
        columns = torch.full((3, count + 1), count, dtype=torch.int32, device=device)
        columns[1] = itself
        for remainder, codes in enumerate(found):
            # All coordinates go down by 1, the axis's own up by d. Below remainder 0 comes d.
            other = remainder - 1 if remainder else len(found) - 1
            moved = codes + (step if remainder else step - sum(steps))
            here, there = _common(moved, found[other], starts[remainder], starts[other], count)
            columns[0, here] = there.int()
            columns[2, there] = here.int()
        out.append(Rows(offsets, columns.t().reshape(-1), weights))
    return tuple(out)


def _offsets(sizes: Tensor) -> Tensor:
    """Where runs of these sizes begin, and where the last one ends, int32."""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).int()


def _sorted(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N,) in ascending order, and where each was; equal ones keep their order."""
    bits = max(1, (len(codes) - 1).bit_length())
    if _has_numpy(codes) and int(codes.max()) < 1 << (62 - bits):
        # Sorting numbers alone is several times as fast as sorting them with their places.
        both = torch.from_numpy(np.sort(((codes << bits) + torch.arange(len(codes))).numpy()))
        return both >> bits, both & ((1 << bits) - 1)
    ordered, order = torch.sort(codes, stable=True)
    return ordered, order


def _common(a: Tensor, b: Tensor, first: int, second: int, nowhere: int) -> tuple[Tensor, Tensor]:
    """Which numbers are in both of two ascending lists.

    Args:
        a: Numbers.
        b: Others.
        first: What to add to places in `a`.
        second: What to add to places in `b`.
        nowhere: Both places of a number that is in one list alone, if such are not left out.

    Returns:
        Places in `a` and in `b` of the same numbers.
    """
    if _has_numpy(a):
        # A stable sort merges two ascending runs in one sweep.
        both = np.concatenate([a.numpy(), b.numpy()])
        order = np.argsort(both, kind="stable")
        ordered = both[order]
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        places = order[twice] + first, order[twice + 1] + (second - len(a))
        return torch.from_numpy(places[0]), torch.from_numpy(places[1])
    place = torch.searchsorted(b, a).clamp_(max=len(b) - 1)
    same = b[place] == a
    # To leave out the others, the program would have to wait until a GPU has counted them.
    here = torch.arange(first, first + len(a), device=a.device)
    return torch.where(same, here, nowhere), torch.where(same, place + second, nowhere)


def _has_numpy(numbers: Tensor) -> bool:
    """Whether numpy, whose sorting is the faster on a CPU, can see them."""
    return numbers.device.type == "cpu"
