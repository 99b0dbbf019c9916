"""Fully connected CRFs in PyTorch: mean field over the permutohedral lattice.

`DenseCRF` is the door: settings once, then energies and images, one or many. In reading order:
`rows` (sparse times dense), `lattice` (which points lie where), `kernels` (normalised kernels
between pixels), `meanfield` (the iteration), `shared` (lattices kept for the next setting), `crf`
(the door). Imports nothing of the rest of ovsslib.
"""

from ovsslib.densecrf.crf import DenseCRF, unary_from_probabilities
from ovsslib.densecrf.kernels import Kernel, bilateral, gaussian
from ovsslib.densecrf.meanfield import mean_field

__all__ = [
    "DenseCRF",
    "Kernel",
    "bilateral",
    "gaussian",
    "mean_field",
    "unary_from_probabilities",
]
