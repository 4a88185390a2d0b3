"""Instructions for people who label: converts Markdown to harmless HTML."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nh3
from markdown_it import MarkdownIt

from clip_viewer.messages import InstructionsOut
from clip_viewer.words import LANGUAGES
from prefrl.errors import ConfigError

__all__ = ["read_instructions", "to_html"]

_DEFAULT = {tag: Path(__file__).with_name(f"instructions.{tag}.md") for tag in LANGUAGES}
_LARGEST = 200_000
_TAGS = set(
    "a blockquote br code em h1 h2 h3 h4 hr li ol p pre s strong table tbody td th thead tr "
    "ul".split()
)


def read_instructions(path: Path | None, language: str = "en") -> InstructionsOut:
    """Reads the current instructions, with a version that is derived from their content.

    Args:
        path: A Markdown file; None for the general text.
        language: Language of the general text.

    Raises:
        ConfigError: If the file cannot be read, or is not text.
    """
    try:
        content = (path or _DEFAULT[language]).read_bytes()
        text = content.decode()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"expected instructions in Markdown at {path}, but {error}; mend the path or the file."
        ) from error
    if len(content) > _LARGEST:
        raise ConfigError(f"expected at most {_LARGEST} bytes of instructions, got {len(content)}.")
    version = hashlib.sha256(content).hexdigest()[:12]
    return InstructionsOut(html=to_html(text), rubric_ver=version)


def to_html(markdown: str) -> str:
    """Converts Markdown to HTML without raw HTML and pictures; links open in a new tab."""
    html = (
        MarkdownIt("commonmark", {"html": False})
        .enable(["table", "strikethrough"])
        .render(markdown)
    )
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href", "title"}, "ol": {"start"}},
        url_schemes={"http", "https", "mailto"},
        set_tag_attribute_values={"a": {"target": "_blank"}},
        link_rel="noopener noreferrer",
    )
