import pytest
from pages import chromium, serving


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def study(tmp_path):
    with serving(tmp_path) as study:
        yield study
