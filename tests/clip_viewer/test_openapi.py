"""Schemathesis over the description of the server: no request breaks it, and it keeps its word."""

import tempfile
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from pages import PLAIN, serving
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from clip_viewer.app import create_app
from clip_viewer.config import ViewerConfig
from prefrl.core.store import LabelStore

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("described"), PLAIN) as study:
        study.add_pairs(30)
        yield study
        with LabelStore(study.run.labels) as store:
            assert store.check() == []


@pytest.fixture(scope="module")
def headers(study):
    return study.headers("boss", "owner")


def description():
    """What the server says of itself; made for this alone, and served by nobody."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = ViewerConfig(store="sqlite://", media=place, people=place / "people.db")
        return create_app(config).openapi()


# Signing out would end the session of all that comes after it.
schema = schemathesis.openapi.from_dict(description()).exclude(path="/api/session", method="DELETE")


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_no_request_breaks_the_server(case, study, headers):
    answer = case.call(base_url=study.address, headers=headers)
    case.validate_response(answer, checks=CHECKS)
