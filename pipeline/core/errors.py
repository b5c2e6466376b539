"""The one exception family. A message names the thing, its value, what was expected and how to fix it.

The command line prints the message alone (no traceback) and exits with `exit_code`:
0 every input gave something, 1 an input gave nothing or too many failed, 2 usage, params or label file.
"""

from __future__ import annotations

LONGEST = 1000  # characters of a line that a person reads


class MsaError(Exception):
    """Anything that a user can fix."""

    exit_code = 2

    def __str__(self) -> str:
        return "\n".join(map(readable, super().__str__().split("\n")))


class ParamsError(MsaError):
    """params.yaml or `--set` holds an unknown key or a wrong value."""


class LabelFileError(MsaError):
    """A label file that cannot be used; all its problems are listed at once.

    Parameters
    ----------
    problems : the lines to show, each naming row, value and way out
    """

    def __init__(self, source: str, problems: list[str]):
        self.problems = problems
        if len(problems) == 1:
            super().__init__(f"{source}: {problems[0]}")
            return
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{source}: {len(problems)} problem(s)\n{lines}")


class FormatError(MsaError):
    """A file is not what its place says: not ours, of another format version, or of other shape."""


class MissingDependencyError(MsaError):
    """An optional package is not installed; the message names the extra."""


class MissingModelError(MsaError):
    """Pretrained weights are not on this machine; the message names the file and how to get it."""


class ClipError(MsaError):
    """One clip gave no features for a modality: a `failed` row with this message as its reason.

    `transient` errors (timeout, crash, out of memory) are tried again at the next run.
    """

    exit_code = 1
    transient = False


class ClipTimeoutError(ClipError):
    """A clip took longer than the limit."""

    transient = True


class MachineTroubleError(ClipError):
    """A disk, a mount or the memory failed, not the clip."""

    transient = True


class UndecodableError(ClipError):
    """The source has the modality, in a codec that nothing here decodes."""


class AbsentError(ClipError):
    """The source does not have the modality (no audio track, no transcript): an `absent` row."""


class TooManyFailedError(MsaError):
    """More clips failed than `max_failed_fraction` allows; everything that worked was written."""

    exit_code = 1


class IncompleteError(MsaError):
    """Only a part was asked for, and more is missing; what was asked for was written."""

    exit_code = 1


def of_system(error: OSError) -> str:
    """What the system says of a file, as a message: a full disk, a name that is too long."""
    return f"{error.filename or 'file system'}: {error.strerror or error}"


def readable(line: str) -> str:
    """A line without the middle of what is too long: a file may hold a name of a megabyte."""
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 305]} ... {line[-300:]}"


def first_line(error: BaseException) -> str:
    """What an error says, on one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
