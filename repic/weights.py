"""Models' weights as their files have them: all of them, and numbers to compute with.

The library draws what is missing at random, passes over what is left over, and takes integers and
NaN for weights; a model would be scored that is nobody's.
"""

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

_MEND = "copy the model again"


def load_whole(
    kind: Any,
    path: str | Path,
    *,
    may_lack: str | None = None,
    may_have: bool = False,
    **options: Any,
) -> Any:
    """Load a model by the library, and refuse what it makes up, leaves out or cannot compute with.

    Args:
        kind: a class of the library with ``from_pretrained``.
        path: of the model: a directory, or an id on the hub.
        may_lack: pattern of weights that nobody asks.
        may_have: let the files hold more than the model has.
        options: for ``from_pretrained``.

    Raises:
        ValueError: names the file, and the weights that are missing, left over, of other shapes,
            NaN or infinite; or the model cannot be loaded at all.
    """
    with naming(path), _without_report():
        model, report = kind.from_pretrained(
            path,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            trust_remote_code=False,
            **options,
        )
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise ValueError(
            f"{place_of(path, name)} has the shape {list(found)}, and the model's is"
            f" {list(wanted)}; {_MEND}"
        )
    missing = [name for name in report["missing_keys"] if not re.search(may_lack or "$^", name)]
    if missing:
        raise ValueError(f"{path}: weights are missing ({few(sorted(missing))}); {_MEND}")
    if report["unexpected_keys"] and not may_have:
        first, *others = sorted(report["unexpected_keys"])
        more = f", nor for {len(others)} others" if others else ""
        raise ValueError(f"{place_of(path, first)} has no place in the model{more}; {_MEND}")
    named = model.named_parameters()
    # One that is read later is looked at then.
    read = ((name, p) for name, p in named if not getattr(p, "is_deferred", False))
    refuse_not_finite(path, read)
    return model


def refuse_not_finite(path: str | Path, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Raise for weights that are NaN or infinite."""
    known = dict(weights)
    if broken := not_finite(known.items()):
        dtype = str(known[broken[0]].dtype).removeprefix("torch.")
        more = f", and so are {few(broken[1:])}" if broken[1:] else ""
        mend = _MEND if dtype == "float32" else f"{_MEND}, or load it with another dtype"
        raise ValueError(f"{place_of(path, broken[0])} is NaN or infinite in {dtype}{more}; {mend}")


def not_finite(weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of those that hold NaN or an infinite number."""
    return [
        name
        for name, weight in weights
        if weight.numel() and weight.is_floating_point() and not _is_finite(weight.detach())
    ]


def few(names: Sequence[str]) -> str:
    """Name the first few, for a message.

    Example:
        >>> few(["a", "b", "c", "d", "e"])
        'a, b, c and 2 others'
    """
    return ", ".join(names[:3]) + (f" and {len(names) - 3} others" if len(names) > 3 else "")


def place_of(path: str | Path, name: str) -> str:
    """Say in which file of a directory a weight is, and what it is called there.

    Models and their files may begin a name in different ways; the longest common end decides.
    """
    best, place = 0, f"{path}: {name}"
    for file in sorted(Path(path).glob("*.safetensors")):
        with contextlib.suppress(SafetensorError, OSError), safe_open(file, "pt") as opened:
            for key in opened.keys():  # noqa: SIM118  # it is no mapping
                common = _common_end(key, name)
                if common > best:
                    best, place = common, f"{file}: {key}"
    return place


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name the model that the library cannot load, for whatever reason."""
    try:
        yield
    except Exception as error:  # of every kind, by what is wrong with which file
        text = " ".join(str(error).split())
        if "trust_remote_code" in text:
            raise ValueError(
                f"{path}: needs code that lies in it, which is not run; take a model of a family"
                " that the library itself knows"
            ) from None
        if isinstance(error, ValueError) and (str(path) in text or _is_ours(error)):
            raise
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        text = text if len(text) <= 300 else f"{text[:299]}…"
        raise ValueError(f"{path}: cannot be loaded as a model ({kind}{text})") from error


def _is_ours(error: BaseException) -> bool:
    """Whether an error was raised by this package, and so says what to do."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    name = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    return name.partition(".")[0] == __name__.partition(".")[0]


@contextlib.contextmanager
def _without_report() -> Iterator[None]:
    """The library draws a table of what is then refused in a sentence."""

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    library = logging.getLogger("transformers.modeling_utils")
    library.addFilter(is_no_report)
    try:
        yield
    finally:
        library.removeFilter(is_no_report)


def _common_end(one: str, other: str) -> int:
    ends = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], ends))


def _is_finite(weight: Tensor) -> bool:
    return bool(torch.stack(weight.aminmax()).isfinite().all())
