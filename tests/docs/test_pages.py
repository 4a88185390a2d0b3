"""The pages of the documentation: all are in the site, and the files that they name exist."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BEFORE = ("prefrl/", "clip_viewer/", "envs/", "tests/", "scripts/", "docs/", ".github/", ".ci/")
NAMED = ["docs/how_it_works.md", "CONTRIBUTING.md"]


class Tolerant(yaml.SafeLoader):
    """Reads names of Python objects as nothing."""


Tolerant.add_multi_constructor("tag:yaml.org,2002:python/", lambda *told: None)


def uris(nav):
    for entry in nav:
        if isinstance(entry, dict):
            for below in entry.values():
                yield from uris(below) if isinstance(below, list) else [below]
        else:
            yield entry


def test_every_page_is_in_the_navigation():
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=Tolerant)
    found = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert found <= set(uris(config["nav"]))


@pytest.mark.parametrize("page", NAMED)
def test_files_that_a_page_names_exist(page):
    named = set(re.findall(r"`([\w./-]+)`", (ROOT / page).read_text()))
    paths = {name for name in named if name.startswith(BEFORE) and "NAME" not in name}
    assert len(paths) > 10
    missing = sorted(name for name in paths if not (ROOT / name).exists())
    assert not missing


def test_what_is_named_in_a_file_is_there():
    """In the table of what to touch: ``NAME`` of ``FILE``."""
    text = (DOCS / "how_it_works.md").read_text()
    places = re.findall(r"`(\w+)(?:\(\))?` (?:of|in) `([\w./]+\.py)`", text)
    assert len(places) >= 6
    for name, path in places:
        assert name in (ROOT / path).read_text(), (name, path)
