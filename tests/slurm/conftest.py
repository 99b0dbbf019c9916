"""The SLURM cluster that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.slurm_cluster import Cluster, SlurmError, install, running


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A cluster of two cores; this process's environment names it while it runs."""
    try:
        install()
    except SlurmError as error:
        pytest.skip(f"no SLURM: {error}")
    with running(cpus=2) as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment.items():
            patch.setitem(os.environ, name, value)
        yield cluster
