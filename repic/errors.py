"""What went wrong, in one line: for the command line, which shows no tracebacks."""

import difflib
import errno
import re


def explain(error: BaseException) -> str:
    """One line: what is wrong, where, and how to mend it."""
    where = re.search(r"full_key: (\S+)", str(error))
    # A plain ValueError is ours, and says more than what it came from.
    while error.__cause__ is not None and type(error) is not ValueError:
        error = error.__cause__
    if isinstance(error, OSError) and error.strerror:
        return _explain_os_error(error)
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    text = " ".join(text.split())
    if of_hydra := _explain_hydra(text):
        return of_hydra
    return f"{where[1]}: {text}" if where and where[1] not in text else text


def _explain_hydra(text: str) -> str | None:
    """What Hydra says of a mistyped command, for somebody who does not know Hydra.

    Example:
        >>> _explain_hydra("E: Could not find 'kl/hgh' Available options in 'kl': high low")
        "kl: there is no 'hgh', only high, low; did you mean high?"
        >>> _explain_hydra("E: Key 'x' is not in struct full_key: phase.x object_type=dict")
        'phase.x is neither a key nor a group; see the keys with --cfg job, the groups with --help'
        >>> _explain_hydra("E: Multiple values for experiment. To override a value use 'o'")
        'experiment is given more than once; leave one, or sweep over both with -m and a comma'
    """
    if found := re.search(
        r"Could not find '(\S+)/([^'/]+)' Available options in '\S+': (.*)", text
    ):
        group, wrong, listed = found.groups()
        options = listed.partition(" Config search path")[0].split()
        close = difflib.get_close_matches(wrong, options, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{group}: there is no {wrong!r}, only {', '.join(options)}{hint}"
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
    return f"{file}{error.strerror}" + (f"; {mend}" if mend else "")
