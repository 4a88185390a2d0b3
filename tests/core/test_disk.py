"""What the disk refuses, in a sentence with the file's name."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefrl.core.disk import in_words, naming

PLAIN = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
"""Has root obey the permissions of files, as anybody else does."""


def without_privileges(code, *arguments):
    """Runs Python as somebody who may do what permissions say, and no more."""
    command = [*(PLAIN if os.geteuid() == 0 else ()), sys.executable, "-c", code]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


def test_a_full_disk_names_the_file():
    path = Path("/dev/full")
    with pytest.raises(OSError, match="No space") as caught, naming(path), path.open("w") as file:
        file.write("more than there is room for")
    assert in_words(caught.value) == (
        "expected to write /dev/full, but no space left on device; make room there."
    )


def test_a_file_that_the_error_names_already_stays():
    with pytest.raises(OSError, match="gone") as caught, naming(Path("other")):
        Path("gone").read_bytes()
    assert in_words(caught.value) == (
        "expected to read or write gone, but no such file or directory; look whether it was moved "
        "or removed, or choose another place."
    )


def test_what_one_may_not_do_leads_to_who_may():
    told = in_words(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "mine"))
    assert "mine, but permission denied; look at whose it is" in told


def test_a_label_store_of_somebody_else_is_not_taken_for_a_damaged_one(tmp_path):
    path = tmp_path / "labels.db"
    make = "from prefrl.core.store import LabelStore; import sys; LabelStore(sys.argv[1]).close()"
    assert without_privileges(make, path).returncode == 0
    path.chmod(0)
    said = without_privileges(make, path).stderr.splitlines()[-1]
    assert "StoreError: expected a label store that this user may read and write" in said
    assert "backup" not in said
