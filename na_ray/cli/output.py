"""What a training says, where nobody takes it: a pipe that is closed, a full disk, a terminal that is gone."""

import errno
import io
import sys
from typing import TextIO

NOBODY = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What the system says then."""


class _Output(io.FileIO):
    """A file whose writing ends nothing."""

    def write(self, data: object) -> int:
        """Write, or forget it."""
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            if error.errno not in NOBODY:
                raise
            return memoryview(data).nbytes  # type: ignore[arg-type]


def unheard(stream: TextIO) -> io.TextIOWrapper:
    """A stream to the same place as another one, for lines, that goes on where nobody takes them."""
    raw = _Output(stream.fileno(), "w", closefd=False)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, stream.encoding, stream.errors, line_buffering=True)


def speak_on() -> None:
    """Let this process go on where its output fails: hours of training do not depend on who reads of them."""
    out: TextIO = sys.stdout
    errors: TextIO = sys.stderr
    if (out, errors) == (sys.__stdout__, sys.__stderr__):  # else somebody else's: a test's, a notebook's
        sys.stdout, sys.stderr = unheard(out), unheard(errors)
