"""Settings of every test: one computing thread, no network, results outside the checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# before torch and transformers are imported: both read these once
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import numpy as np

    np.random.seed(0)  # noqa: NPY002 - the global generator is what code under test might use
    if "torch" in sys.modules:  # tests without it need not wait seconds for its import
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def results_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs store their results while a test runs."""
    folder = tmp_path_factory.mktemp("results")
    monkeypatch.setenv("OVSS_RESULTS", str(folder))
    return folder
