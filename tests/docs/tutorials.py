"""Tutorials as a reader follows them: files are saved, scripts are run, commands are typed."""

import re
import runpy
import shlex
import warnings
from pathlib import Path

from prefrl.cli import main
from prefrl.control.shortening import VARIABLE

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
BLOCK = re.compile(r'^```(\w+)(?: title="(.+?)")?\n(.*?)^```', re.DOTALL | re.MULTILINE)
NOTHING_LEARNED = 3  # the exit code of a training so short


def blocks(page):
    """What a page has the reader do, in order: language, name of a file or nothing, and text."""
    return BLOCK.findall((FOLDER / f"{page}.md").read_text())


def commands(text):
    """The arguments of each ``prefrl`` in a block of the shell."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(line[0] == "prefrl" for line in words if line)
    return [line[1:] for line in words if line]


def typed(arguments):
    """Does a command here, as if typed; a training so short may have learned nothing."""
    try:
        main(arguments)
    except SystemExit as ended:
        if ended.code not in (None, 0, NOTHING_LEARNED):
            raise


def followed(page, folder, monkeypatch, *, steps):
    """Does all of a page in an empty folder, with trainings that end after some steps."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv(VARIABLE, str(steps))
    for language, name, text in blocks(page):
        if name:
            (folder / name).write_text(text)
        elif language == "bash":
            for arguments in commands(text):
                typed(arguments)
        else:
            run_script(folder, text)


def run_script(folder, text):
    """Runs a script, whose warnings are the reader's to see and not this test's."""
    script = folder / "script.py"
    script.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(str(script), run_name="__main__")
