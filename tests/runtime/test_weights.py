import pytest
import torch

from prefrl.errors import RunDirectoryError
from prefrl.runtime.weights import latest_weights, publish_weights


def test_the_newest_version_comes_back_whole(tmp_path):
    for version in (1, 2, 10):
        publish_weights(
            tmp_path, version, {"w": torch.full((2, 3), float(version))}, about={"n": 1}
        )
    weights = latest_weights(tmp_path)
    assert weights.version == 10
    assert torch.equal(weights.tensors["w"], torch.full((2, 3), 10.0))
    assert weights.about == {"n": 1}


def test_two_versions_are_kept(tmp_path):
    for version in range(1, 6):
        publish_weights(tmp_path, version, {"w": torch.zeros(1)}, about={})
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == [f"v00000{v}.{kind}" for v in (4, 5) for kind in ("json", "safetensors")]


def test_nothing_published_and_damage_are_named(tmp_path):
    with pytest.raises(RunDirectoryError, match="found none"):
        latest_weights(tmp_path)
    publish_weights(tmp_path, 1, {"w": torch.zeros(1)}, about={})
    (tmp_path / "v000001.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(RunDirectoryError, match="expected readable reward weights"):
        latest_weights(tmp_path)
