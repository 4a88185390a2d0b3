import pytest
from store_places import DATABASES, new_place


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    """Of a label store that is not there yet, once in SQLite and once in PostgreSQL."""
    with new_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def path(tmp_path):
    """Of an SQLite file that is not there yet."""
    return str(tmp_path / "labels.db")
