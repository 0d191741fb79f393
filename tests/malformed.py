"""Values that a signature forbids, made from the signature; pydantic is the judge of them."""

import json
import math
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union

import typing_extensions
from omegaconf import DictConfig, OmegaConf
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from repic.assembly import READ
from repic.values import Door

SAMPLES = (
    *(None, True, False, 0, 1, 2, 7, -1, 0.5, -0.5, 1.5, 2.0),  # types, signs, shares, wholes
    *(1e-45, 1e39, -1e39, math.nan, math.inf, -math.inf, 2**31, 2**63, 10**30, -(10**30)),
    *("", " ", "abc", "1", "0.5", "nan", "inf", "null", "true", "../x", "a\0b"),  # as text
    *([], ["abc"], [1], [0.5, 2], [None], [True, 1], ["a", ""], [[1]], [math.nan], [2, 1]),
    *({}, {"abc": 1}, {"abc": None}, {"abc": "x"}, {"abc": math.inf}, {"limit": 1}),
)


def plain_leaves(cfg: DictConfig) -> dict[str, Any]:
    """Every key whose value is no part, and what its taker says that it may be."""
    raw: Any = OmegaConf.to_container(cfg)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True)
    door = Door(raw, resolved)
    door.check(READ)
    return {key: hint for key, hint in door.taken.items() if judge_of(hint) is not None}


def judge_of(hint: Any) -> TypeAdapter[Any] | None:
    """Pydantic's reading of an annotation; None where something has to be made."""
    options = (hint, *typing.get_args(hint))
    if any(isinstance(option, type) and is_dataclass(option) for option in options):
        return None  # is made from such a mapping by Hydra
    if any(typing.get_origin(option) is Iterable for option in options):
        return None  # is read later, so that pydantic takes whatever can be iterated
    try:
        return _judge(hint)
    except PydanticSchemaGenerationError:
        return None


def is_allowed(value: Any, hint: Any) -> bool:
    """Whether pydantic takes a value as an annotation has it, without turning it into another."""
    judge = judge_of(hint)
    assert judge is not None
    try:
        judge.validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError:
        return False
    return True


def malformed(hint: Any) -> Iterator[Any]:
    """What an annotation forbids: of other types, out of range, not finite, numbers as text."""
    return (value for value in SAMPLES if not is_allowed(value, hint))


def well_formed(hint: Any) -> Iterator[Any]:
    """What it allows."""
    return (value for value in SAMPLES if is_allowed(value, hint))


@cache
def _judge(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_with_later_typed_dicts(hint))


def _with_later_typed_dicts(hint: Any) -> Any:
    """An annotation with the TypedDicts of Python 3.12, the first that pydantic can read."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if typing.is_typeddict(hint):
        fields = typing.get_type_hints(hint, include_extras=True).items()
        mended = {name: _with_later_typed_dicts(field) for name, field in fields}
        make: Any = typing_extensions.TypedDict
        return make(hint.__name__, mended)
    if origin is Annotated:
        return Annotated[_with_later_typed_dicts(hint.__origin__), *hint.__metadata__]
    if not args or origin in (Literal, Callable):
        return hint
    mended = [_with_later_typed_dicts(arg) for arg in args]
    if origin in (Union, UnionType):
        return reduce(or_, mended)
    return origin[tuple(mended)] if len(mended) > 1 else origin[mended[0]]
