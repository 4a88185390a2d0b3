import os
import signal
import subprocess
import sys

import pytest

CODE = """
from prefrl.failpoints import fail_point
for passage in range(1, 4):
    print(passage, flush=True)
    fail_point("here")
"""


@pytest.mark.parametrize(
    ("told", "passages"),
    [("", "1 2 3"), ("here", "1"), ("here@2", "1 2"), ("elsewhere", "1 2 3"), ("here@9", "1 2 3")],
)
def test_the_process_dies_at_the_named_passage(told, passages):
    child = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PREFRL_FAIL_POINT": told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.stdout.split() == passages.split()
    assert child.returncode == (0 if passages == "1 2 3" else -signal.SIGKILL)


def test_orders_in_a_file_are_for_one_process(tmp_path):
    orders = tmp_path / "orders"
    orders.write_text("here")
    environment = {**os.environ, "PREFRL_FAIL_POINT_FILE": str(orders)}
    ends = [
        subprocess.run(
            [sys.executable, "-c", CODE], env=environment, stdout=subprocess.DEVNULL, check=False
        ).returncode
        for _ in range(2)
    ]
    assert ends == [-signal.SIGKILL, 0]
    assert not orders.exists()
