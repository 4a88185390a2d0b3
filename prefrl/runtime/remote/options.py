"""Which options of a training go together with object storage; loads nothing slow."""

from __future__ import annotations

from prefrl.errors import ConfigError

__all__ = ["check_media_options"]


def check_media_options(media: str | None, store: str | None, *, asks_people: bool) -> None:
    """Refuses object storage for a run that pages on other machines could not serve.

    Args:
        media: URL of the storage, if any.
        store: Database of the answers, if any.
        asks_people: Whether people answer.

    Raises:
        ConfigError: If there is no database beside it, or nobody to look.
    """
    if media is None:
        return
    if store is None:
        raise ConfigError(
            f"expected --store with --media {media}: a page on another machine reads and writes "
            "answers in a database; add --store postgresql://USER@HOST/DATABASE."
        )
    if not asks_people:
        raise ConfigError(
            f"expected --oracle human or mixed with --media {media}: it holds what people look at; "
            "leave it out, or let people answer."
        )
