"""The process: `lungsight`, and `python -m lungsight`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from lungsight.cli import main


def run() -> None:
    """The command line; ends the process."""
    try:
        try:
            main()
        except SystemExit as stop:
            _flush()
            words = sys.argv[1:]
            if words[:1] == ["predict"] and "--cluster" not in words and isinstance(stop.code, int):
                _leave(stop.code)
            raise
        _flush()
    except OSError as error:  # of files of results there are none here: they have become a `LungsightError`
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE):
            raise
        _cannot_print(error)


def _flush() -> None:
    if sys.stdout is not None:  # as where the shell closed it
        sys.stdout.flush()


def _cannot_print(error: OSError) -> None:
    """End with one line where standard output takes nothing, and with none where its reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        if error.errno != errno.EPIPE:
            sys.stderr.write(f"lungsight: standard output takes nothing: {error.strerror}\n")
        # Python writes what is left when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(2)


def _leave(code: int) -> None:
    """End now, and do not take Python's modules apart first, which takes a fifth of the time of one X-ray.

    All files are closed by then, and what was printed is written.
    """
    from lungsight.xray.pool import stop_decoding

    stop_decoding()
    os._exit(code)


if __name__ == "__main__":
    run()
