"""What the documentation site needs beside docs/: other pages, and the reference.

README, CHANGELOG and the like are pages of the site as well. Figures and reports under scripts/
that a page links to are copied along. MkDocs calls these functions while it builds: mkdocs.yml.
"""

import os
import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
COPIED = "repository"
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")
SECTION = re.compile(r"^### (?P<name>prefrl\.\S+)\n.*?(?=^##|\Z)", re.DOTALL | re.M)
ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|source)[^>]*\ssrc=\"https?:|<link[^>]*\shref=\"https?:"
)
REFERENCE = """
::: {name}
    options:
      show_root_heading: false
      show_root_toc_entry: false
"""


def place_of(path):
    """The page or file of the site that a file of the repository becomes."""
    name = path.relative_to(ROOT).as_posix()
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return PAGES.get(name, f"{COPIED}/{name}")


def targets(markdown, source):
    """Each link of a page to a file of the repository, and that file."""
    for link in LINK.findall(markdown):
        if ":" not in link:
            path = (source.parent / link).resolve()
            if path.is_file() and path.is_relative_to(ROOT):
                yield link, path


def on_files(files, config):
    """Adds what is linked to and lies outside of docs/, and what that links to in turn."""
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    todo = list(files.documentation_pages())
    while todo:
        source = Path(todo.pop().abs_src_path)
        for _, path in targets(source.read_text(), source):
            uri = place_of(path)
            if files.get_file_from_path(uri) is None:
                files.append(file := File.generated(config, uri, abs_src_path=str(path)))
                todo += [file] if path.suffix == ".md" else []
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that lead out of docs/ into links within the site; the reference is put in."""
    source, here = Path(page.file.abs_src_path), Path(page.file.src_uri).parent
    found = dict(targets(markdown, source))
    places = {link: os.path.relpath(place_of(path), here) for link, path in found.items()}
    markdown = LINK.sub(lambda match: places.get(match[0], match[0]), markdown)
    return with_reference(markdown) if page.file.src_uri == "api.md" else markdown


def with_reference(markdown):
    """docs/api.md with what the docstrings say below each example."""
    return SECTION.sub(
        lambda match: match[0] + REFERENCE.format(name=match["name"]) + "\n", markdown
    )


def on_post_build(config):
    """Refuses a site that would load anything from another server."""
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        if found := ELSEWHERE.search(path.read_text()):
            raise PluginError(f"{path} loads from another server: {found[0]}")
