import platform
import subprocess
import sys

import pytest
import torch

from prefrl.errors import ConfigError
from prefrl.runtime.devices import choose_devices


@pytest.fixture
def gpus(monkeypatch):
    def have(n):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return have


@pytest.mark.parametrize(
    ("n_gpus", "wanted", "devices"),
    [
        (0, "auto", ("cpu", "cpu")),
        (1, "auto", ("cuda:0", "cuda:0")),
        (2, "auto", ("cuda:0", "cuda:1")),
        (8, "auto", ("cuda:0", "cuda:1")),
        (2, "cpu", ("cpu", "cpu")),
        (2, "cuda:1", ("cuda:1", "cuda:1")),
        (2, "cuda:0, cpu", ("cuda:0", "cpu")),
    ],
)
def test_who_computes_where(gpus, n_gpus, wanted, devices):
    gpus(n_gpus)
    assert choose_devices(wanted) == devices


@pytest.mark.parametrize(
    ("n_gpus", "wanted", "message"),
    [
        (0, "cuda", "found none; choose --device cpu"),
        (2, "cuda:2", "one of 2 GPUs"),
        (1, "tpu", "such as cpu or cuda:0"),
        (1, "mps", "expected cpu or cuda"),
        (2, "cpu,cpu,cpu", "expected one device"),
    ],
)
def test_devices_that_are_not_there_are_refused(gpus, n_gpus, wanted, message):
    gpus(n_gpus)
    with pytest.raises(ConfigError, match=message):
        choose_devices(wanted)


def test_torch_gets_its_threads_and_keeps_its_memory():
    """The C library gives back what large tensors took, unless it is told not to."""
    code = (
        "import resource, torch; from prefrl.runtime.devices import use_cpu; use_cpu(1)\n"
        "for _ in range(3): torch.ones(6_000_000) + 1\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "before = faults()\n"
        "for _ in range(20): torch.ones(6_000_000) + 1\n"
        "print(torch.get_num_threads(), faults() - before)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    threads, faults = map(int, said.stdout.split())
    assert threads == 1
    if platform.libc_ver()[0] == "glibc":
        assert faults < 20 * 6_000_000 * 4 / 4096 / 4  # a page fault for each page, twice, else
