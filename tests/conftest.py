import os

# Before anything imports torch or draws.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from clocks import Clock

torch.set_num_threads(1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
