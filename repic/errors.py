"""What went wrong, in one line: for the command line, which shows no tracebacks."""

import difflib
import dis
import errno
import logging
import os
import re
import shlex
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

FAULT = 70  # exit status: EX_SOFTWARE of sysexits.h


def origin(error: BaseException) -> BaseException:
    """The error that others were raised for; a plain ValueError of ours says more than its own."""
    while error.__cause__ is not None and type(error) is not ValueError:
        error = error.__cause__
    return error


def is_told(error: BaseException, *others: type[Exception]) -> bool:
    """Whether an error says what is wrong with what was given; all else is a fault of code.

    A ``ValueError`` does where somebody raises it, and not where an operation fails: the shapes of
    two arrays, say, or a text that is no number.

    Args:
        error: what was raised.
        others: further types whose errors do.
    """
    error = origin(error)
    if isinstance(error, ValueError) and not isinstance(error, others):
        return _is_raised(error)
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return is_memory or isinstance(error, (OSError, ImportError, *others))


def _is_raised(error: BaseException) -> bool:
    """Whether a raise statement was the last that ran, rather than an operation that failed."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return True  # was made here, and not raised yet
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def tell(
    name: str,
    error: BaseException,
    *others: type[Exception],
    told: Callable[[BaseException], str] = str,
    program: str,
) -> int:
    """Print a line about what ends a program; return the exit status.

    Args:
        name: of the program.
        error: what ends it.
        others: see ``is_told``.
        told: words an error that says what is wrong with what was given.
        program: what ``python -m`` starts.
    """
    if is_told(error, *others):
        print(f"{name}: {told(error)}", file=sys.stderr)
        return 1
    command = ["python", "-m", program, *sys.argv[1:]]
    print(f"{name}: {explain_fault(error, _keep_traceback(error), command)}", file=sys.stderr)
    return FAULT


def explain_fault(error: BaseException, log: Path, command: Sequence[str]) -> str:
    """One line for an error that is no mistake in what was given: whose fault it is, and what next.

    Args:
        error: nobody expected it.
        log: has its traceback.
        command: that led to it.
    """
    error = origin(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    here = str(Path(__file__).parent)
    outside = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    # The innermost place that is neither a library's nor Python's.
    own = [
        frame
        for frame in frames
        if frame.filename.startswith(here) or not frame.filename.startswith((*outside, "<"))
    ]
    place = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    if own and not own[-1].filename.startswith(here):
        return f"{what}{place}; the traceback is in {log}"
    return (
        f"this is a fault of repic, not of what it was given: {what}{place}; the traceback is in"
        f" {log}; please report it with that file and the command: {shlex.join(command)}"
    )


def _keep_traceback(error: BaseException) -> Path:
    """Write where an error came from into the run's log, or into a file of its own without one."""
    text = "".join(traceback.format_exception(error))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.emit(logging.makeLogRecord({"name": __name__, "msg": text}))
            return Path(handler.baseFilename)
    number, path = tempfile.mkstemp(prefix="repic-", suffix=".log")
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    return Path(path)


def plainly(error: BaseException) -> str:
    """One line for a command that is no run: what is wrong with which file, or as it was said."""
    error = origin(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def first_line(error: BaseException) -> str:
    r"""What a library says in its first line, the rest being advice; its kind, if it says nothing.

    Example:
        >>> first_line(ImportError("\nneeds foo\npip install foo")), first_line(OSError())
        ('needs foo', 'OSError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def not_served(host: str, port: int, error: OSError) -> ValueError:
    """What is said of a port that cannot be had."""
    return ValueError(
        f"host={host} port={port}: cannot be served on ({error.strerror}); take another port, or"
        " port=0 for any"
    )


def explain(error: BaseException) -> str:
    """One line: what is wrong, where, and how to mend it."""
    where = re.search(r"full_key: (\S+)", str(error))
    error = origin(error)
    if isinstance(error, OSError) and error.strerror:
        return _explain_os_error(error)
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    if isinstance(typed := getattr(error, "override", None), str):  # Hydra could not read it
        return f"{typed}: is no key=value; what is not plain stands in quotes: 'key=\"...\"'"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"not enough memory ({text}); lower the sizes of batches"
    if of_hydra := _explain_hydra(text):
        return of_hydra
    if where:  # OmegaConf's own words
        text = re.sub(r"^\w+: | full_key: .*", "", text)
    return f"{where[1]}: {text}" if where and where[1] not in text else text


def _explain_hydra(text: str) -> str | None:
    """What Hydra says of a mistyped command, for somebody who does not know Hydra.

    Example:
        >>> _explain_hydra("E: Could not find 'kl/hgh' Available options in 'kl': high low")
        "kl: there is no 'hgh', only high, low; did you mean high?"
        >>> _explain_hydra("E: Key 'x' is not in struct full_key: phase.x object_type=dict")
        'phase.x is neither a key nor a group; see the keys with --cfg job, the groups with --help'
        >>> _explain_hydra("E: Interpolation key 'a.b' not found full_key: c.d object_type=dict")
        'c.d: refers to a.b, which is not there'
        >>> _explain_hydra("E: Ambiguous value for argument 'seed=1,2' 1. To use it as a list")
        'seed=1,2: to try each of them, add -m; for a list, use brackets: key=[a,b]'
        >>> _explain_hydra("E: Cannot merge DictConfig with ListConfig full_key: a.b object_type=x")
        'a.b: a list is given for a mapping, {key: value}, or a mapping for a list'
        >>> _explain_hydra("In 'kl/my': Cannot merge DictConfig with ListConfig full_key:")
        'kl/my.yaml: a list is given for a mapping, {key: value}, or a mapping for a list'
        >>> _explain_hydra("E: Multiple values for experiment. To override a value use 'o'")
        'experiment is given more than once; leave one, or sweep over both with -m and a comma'
    """
    if found := re.search(
        r"Could not find '(\S+)/([^'/]*)' Available options in '\S+': (.*)", text
    ):
        group, wrong, listed = found.groups()
        options = listed.partition(" Config search path")[0].split()
        close = difflib.get_close_matches(wrong, options, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{group}: there is no {wrong!r}, only {', '.join(options)}{hint}"
    if found := re.search(r"raised while resolving interpolation: (.*?) full_key: ", text):
        return found[1]  # a resolver of ours has looked at a value
    if found := re.search(r"Interpolation key '(\S+)' not found full_key: (\S+)", text):
        return f"{found[2]}: refers to {found[1]}, which is not there"
    merging = r"(?:In '(\S+)': .*)?Cannot merge DictConfig with ListConfig full_key:"
    merging += r"(?: (?!object_type)(\S+))?"
    if found := re.search(merging, text):
        what = "a list is given for a mapping, {key: value}, or a mapping for a list"
        return f"{found[2] or f'{found[1]}.yaml'}: {what}"
    if found := re.search(r"Ambiguous value for argument '([^']*)'", text):
        return f"{found[1]}: to try each of them, add -m; for a list, use brackets: key=[a,b]"
    if found := re.search(r"is not in struct full_key: (\S+)", text):
        see = "see the keys with --cfg job, the groups with --help"
        return f"{found[1]} is neither a key nor a group; {see}"
    if found := re.search(r"Multiple values for (\S+)\. To override", text):
        return (
            f"{found[1]} is given more than once; leave one, or sweep over both with -m and a comma"
        )
    return None


def _explain_os_error(error: OSError) -> str:
    mends = {
        errno.EACCES: "choose a folder that you may write to with outputs=<folder>",
        errno.EPERM: "choose a folder that you may write to with outputs=<folder>",
        errno.EROFS: "choose a folder that you may write to with outputs=<folder>",
        errno.ENOSPC: "make room and repeat the command; it goes on from its last checkpoint",
    }
    file = f"{error.filename}: " if error.filename else ""
    mend = mends.get(error.errno or 0)
    if error.errno == errno.EACCES and error.filename and not _may_be_read(error.filename):
        mend = "let it be read"
    return f"{file}{error.strerror}" + (f"; {mend}" if mend else "")


def _may_be_read(place: str | bytes | os.PathLike) -> bool:
    """Whether something that is there may be read; of what is not there nothing is known."""
    return not os.path.exists(place) or os.access(place, os.R_OK)
