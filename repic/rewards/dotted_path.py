"""From a dotted path to the function that it names."""

import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from repic.signals import Stopped
from repic.values import nearest


def import_function(path: str, place: str) -> Callable[..., Any]:
    """Import what a dotted path names: a function, or whatever can be called, in a module.

    Args:
        path: such as ``my_package.rewards.politeness``.
        place: what the path is for, for messages.

    Returns:
        What is there. ``ValueError`` says how far the path leads: which module there is none of,
        what a module holds instead, or why it cannot be imported.

    Example:
        >>> import_function("math.sqrt", "reward")(4.0)
        2.0
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ValueError(f"{place} {path!r} is no dotted path, such as my_rewards.politeness")
    module, rest = _import_modules(parts, f"{place} {path}")
    found: Any = module
    for name in rest:
        if not hasattr(found, name):
            raise ValueError(f"{place} {path}: {_holds(found, name)}")
        found = getattr(found, name)
    if not callable(found):
        raise ValueError(f"{place} {path} is a {type(found).__name__}, not a function")
    return found


def _import_modules(parts: list[str], place: str) -> tuple[ModuleType, list[str]]:
    """Import as much of a path as modules are; return the last of them, and what is left."""
    module: ModuleType | None = None
    for i, part in enumerate(parts):
        held = getattr(module, part, None)
        if module and held is not None and not isinstance(held, ModuleType):
            return module, parts[i:]  # rather than a submodule of that name
        name = ".".join(parts[: i + 1])
        try:
            module = importlib.import_module(name)
        except (KeyboardInterrupt, Stopped):
            raise
        except BaseException as error:  # whatever a stranger's module may raise, SystemExit too
            if isinstance(error, ModuleNotFoundError) and error.name == name:
                return _there(module, parts[0], place), parts[i:]
            kind = type(error).__name__
            raise ValueError(f"{place}: importing {name} failed: {kind}: {error}") from error
    return _there(module, parts[0], place), []


def _there(module: ModuleType | None, first: str, place: str) -> ModuleType:
    if module is None:
        raise ValueError(
            f"{place}: there is no module {first}, neither installed nor in the command's"
            f" folder, {os.getcwd()}, or elsewhere on PYTHONPATH"
        )
    return module


def _holds(found: Any, name: str) -> str:
    """What there is in a module (or class) in place of a name."""
    kind = "module" if isinstance(found, ModuleType) else type(found).__name__
    file = getattr(found, "__file__", None)
    there = [key for key in getattr(found, "__dict__", {}) if not key.startswith("_")]
    hint = nearest(name, there) or f"; it has {', '.join(there) or 'nothing'}"
    place = f" ({file})" if file else ""
    return f"{kind} {getattr(found, '__name__', found)}{place} has no {name}{hint}"
