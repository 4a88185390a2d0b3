"""Entry point of ``python -m prefrl`` and of the command ``prefrl``."""

import codecs
import os
import signal
import sys

from prefrl.commands.early import begin_for_people


def main() -> None:
    """Runs the command line. Ctrl-C during imports, which take seconds, ends the process at once.

    If a shell started the process in the background so that it ignores Ctrl-C, it still does.
    """
    _use_utf8()
    begin_for_people(sys.argv[1:])
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from prefrl.cli import main as run

    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _use_utf8() -> None:
    """Restarts Python in UTF-8 mode if its encoding of file names is ASCII.

    With ASCII, TensorBoard and others cannot use a folder with an umlaut in its name.
    """
    is_ascii = codecs.lookup(sys.getfilesystemencoding()).name == "ascii"
    if is_ascii and os.environ.get("PYTHONUTF8") != "1":
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONUTF8": "1"})


if __name__ == "__main__":
    main()
