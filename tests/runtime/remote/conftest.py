import pytest
from store_places import DATABASES, new_place


@pytest.fixture(params=DATABASES)
def place(request, tmp_path):
    """Where a label store is to be: a new file, or a new schema of a server."""
    with new_place(request.param, tmp_path) as place:
        yield place
