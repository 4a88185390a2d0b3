"""Reads local files, folders, globs and data sets on the hub as numbered rows.

JSON lines and JSON arrays are read here, because errors should name the line and rows may differ in
form; everything else is read by ``datasets.load_dataset``.
"""

from __future__ import annotations

import glob
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefrl.errors import ConfigError, MissingExtraError

__all__ = ["SourceConfig", "absolute_source", "is_plain_text", "numbered_lines", "numbered_rows"]

_BY_DATASETS = {
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".gz": "json",
    ".zst": "json",
}  # fmt: skip
_AS_JSON_BEGINS = re.compile(r'\s*[\[{]\s*(["\[{]|$)')
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FORM = (
    "JSON lines, a JSON array, CSV, Parquet, Arrow, a folder of such, a glob in quotes, or the id "
    "of a data set on the hub, as in trl-lib/ultrafeedback_binarized"
)
_AT_ONCE = 1000
_ONE_SAVED, _SEVERAL_SAVED = "state.json", "dataset_dict.json"  # by save_to_disk


@dataclass(frozen=True)
class SourceConfig:
    """Which part of a data set is read."""

    split: str | None = None
    """Split of a folder or of a data set on the hub, such as test or train[:10%]; by default
    train."""
    subset: str | None = None
    """Subset of a data set on the hub that has several."""
    limit: int | None = None
    """Read only the first so many rows."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}; leave it out for all.")


def absolute_source(path: Path) -> str:
    """The name of a source, valid in any working directory; the id of a data set stays as it is."""
    is_here = path.exists() or _is_glob(path) or not _HUB_ID.fullmatch(str(path))
    return str(path.absolute()) if is_here else str(path)


def is_plain_text(path: Path, what: str) -> bool:
    """Whether lines are plain texts: in a .txt, or a file with neither JSON nor a name of data.

    Args:
        path: A source.
        what: What it should hold.

    Raises:
        ConfigError: If it cannot be read, or is empty.
    """
    if path.suffix == ".txt":
        return True
    if path.suffix in (".json", ".jsonl", *_BY_DATASETS) or not path.is_file():
        return False
    _, first = next(numbered_lines(path, what, _FORM))
    return not (_AS_JSON_BEGINS.match(first) or isinstance(_whole(first), str))


def numbered_rows(
    path: Path, what: str, config: SourceConfig | None = None
) -> Iterator[tuple[str, Any]]:
    """Yields the rows of a source, each with its place.

    Values that are None are left out, because each row of a data set has all columns.

    Args:
        path: A file, a folder, a glob, or the id of a data set on the hub.
        what: What it should hold.
        config: Which part of it is read; by default all of the split train.

    Raises:
        ConfigError: If there is no row, or a line is broken: with its number, from 1.
        MissingExtraError: If it is not JSON and ``datasets`` is not installed.
    """
    config = SourceConfig() if config is None else config
    found = False
    for where, row in itertools.islice(_rows(path, what, config), config.limit):
        found = True
        yield where, _told(row)
    if not found:
        raise ConfigError(f"expected {what} in {path}, but it is empty.")


def _rows(path: Path, what: str, config: SourceConfig) -> Iterator[tuple[str, Any]]:
    if _is_glob(path) and not path.exists():
        files = sorted(glob.glob(str(path), recursive=True))
        if not files:
            raise ConfigError(f"expected files of {what} in {path}, but none has such a name.")
        for file in files:
            yield from _rows(Path(file), what, config)
        return
    _check_parts(path, config)
    if path.is_dir() or (path.is_file() and path.suffix in _BY_DATASETS) or _is_on_hub(path):
        yield from _rows_of_datasets(path, what, config)
    else:
        yield from _rows_of_json(path, what)


def _check_parts(path: Path, config: SourceConfig) -> None:
    """Refuses a split or subset of a source that has none, where it would be ignored."""
    is_read_here = path.is_file() and path.suffix not in _BY_DATASETS
    has_no_split = is_read_here or (path / _ONE_SAVED).is_file()
    has_no_subset = has_no_split or path.is_file() or (path / _SEVERAL_SAVED).is_file()
    is_split_named = config.split not in (None, "train")
    if (has_no_subset and config.subset is not None) or (has_no_split and is_split_named):
        raise ConfigError(
            f"expected a folder or a data set of the hub with split or subset, got {path}, which "
            "has no such parts; leave them out."
        )


def _told(row: Any) -> Any:
    return {k: v for k, v in row.items() if v is not None} if isinstance(row, dict) else row


def _is_glob(path: Path) -> bool:
    return glob.has_magic(str(path))


def _is_on_hub(path: Path) -> bool:
    suffixes = (".json", ".jsonl", ".txt", *_BY_DATASETS)
    looks_like_a_file = path.suffix in suffixes or path.parent.is_dir()
    return not path.exists() and not looks_like_a_file and bool(_HUB_ID.fullmatch(str(path)))


def _rows_of_json(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    lines = numbered_lines(path, what, _FORM)
    first = list(itertools.islice(lines, 2))
    if _is_array([line for _, line in first]):
        rows = _parsed(str(path), path.read_text(encoding="utf-8-sig"))
        for number, row in enumerate(rows, 1):
            yield f"row {number} of {path}", row
        return
    for number, line in itertools.chain(first, lines):
        yield f"line {number} of {path}", _parsed(f"line {number} of {path}", line)


def _is_array(lines: list[str]) -> bool:
    """Whether a file with these first lines is one array, not lines that may each be a list."""
    if not lines[0].lstrip().startswith("["):
        return False
    whole = _whole(lines[0])
    if whole is None or len(lines) > 1:
        return whole is None
    return not whole or not all(isinstance(part, dict) and "role" in part for part in whole)


def _whole(line: str) -> Any:
    """Parses JSON; None if it is invalid."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def numbered_lines(path: Path, what: str, form: str) -> Iterator[tuple[int, str]]:
    """The lines of a file that are not empty, with their numbers from 1.

    Args:
        path: The file, in UTF-8 with or without a byte-order mark.
        what: What it should hold.
        form: What to give instead of a file that cannot be read.

    Raises:
        ConfigError: If it cannot be read, or has no such line.
    """
    found = False
    try:
        # Not splitlines: JSON may hold other line separators, such as U+2028, as they are.
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    found = True
                    yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"expected {path} to be text in UTF-8, but {error.reason}.") from error
    except OSError as error:
        raise ConfigError(
            f"expected a file of {what} in {path}, but {error.strerror}; give {form}."
        ) from error
    if not found:
        raise ConfigError(f"expected {what} in {path}, but it is empty.")


def _parsed(where: str, text: str) -> Any:
    """Parses JSON.

    Raises:
        ConfigError: If it is invalid, or holds half of a surrogate pair.
    """
    try:
        row = json.loads(text)
        if "\\u" in text:  # only an escape can bring in half of a surrogate pair
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("utf-16", "surrogatepass")[-2:][::-1].hex()
        raise ConfigError(
            f"expected text in {where}, but it has \\u{half}, half of a character (of a surrogate "
            "pair); write the whole character, or leave that half out."
        ) from error
    except ValueError as error:
        raise ConfigError(f"expected JSON in {where}, but {error}.") from error
    return row


def _rows_of_datasets(path: Path, what: str, config: SourceConfig) -> Iterator[tuple[str, Any]]:
    data = _data_set(path, what, config)
    if config.limit is not None:
        data = data.select(range(min(config.limit, len(data))))
    number = 0
    for columns in data.iter(batch_size=_AT_ONCE):
        names = list(columns)
        for values in zip(*columns.values(), strict=True):
            number += 1
            yield f"row {number} of {path}", dict(zip(names, values, strict=True))


def _data_set(path: Path, what: str, config: SourceConfig) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            "expected datasets, which reads what is not JSON, but it is not installed; "
            "pip install 'prefrl[text]'"
        ) from error
    try:
        found = _loaded(datasets, path, config)
    except IndexError:  # from datasets, which cannot load a data set that it saved without rows
        return datasets.Dataset.from_dict({})
    except Exception as error:  # of many kinds: from pyarrow, the hub or the network
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise ConfigError(
            f"expected {what} in {path}, but {reason.rstrip('.')}; give {_FORM}."
        ) from error
    if not isinstance(found, datasets.DatasetDict):
        return found
    if config.split or "train" not in found:
        raise ConfigError(
            f"expected a split named {config.split or 'train'} in {path}, got "
            f"{', '.join(found)}; name the one that you mean as split."
        )
    return found["train"]


def _loaded(datasets: Any, path: Path, config: SourceConfig) -> Any:
    if any((path / name).is_file() for name in (_ONE_SAVED, _SEVERAL_SAVED)):
        found = datasets.load_from_disk(str(path))
        is_there = isinstance(found, datasets.DatasetDict) and config.split in found
        return found[config.split] if is_there else found
    if not path.exists():
        return datasets.load_dataset(str(path), name=config.subset, split=config.split)
    kind, told, split = str(path), dict[str, Any](name=config.subset), config.split
    if path.is_file():
        datasets.disable_progress_bars()
        kind, told = _BY_DATASETS[path.suffix], {"data_files": str(path)}
        told |= {"sep": "\t"} if path.suffix == ".tsv" else {}
        split = split or "train"
    told |= _as_texts(datasets, datasets.load_dataset_builder(kind, **told).config)
    return datasets.load_dataset(kind, split=split, **told)


def _as_texts(datasets: Any, config: Any) -> dict[str, Any]:
    """Arguments to read tables of text: all values stay texts, and only empty ones are missing."""
    if not hasattr(config, "keep_default_na"):
        return {}
    import pandas

    first = next(iter(config.data_files.values()))[0]
    columns = pandas.read_csv(first, sep=config.sep, nrows=0).columns
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    return {"keep_default_na": False, "na_values": [""], "features": features}
