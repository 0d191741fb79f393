"""What a value of the configuration may be, as types for signatures; and who checks it.

A constructor states what each of its arguments may be: ``grad_clip: Positive``. ``Door`` holds a
composed configuration to the signatures of the parts that it names, before any of them is made:
types are exact (true is no number, "3" is no number, text is no list), ranges are those of the
annotations, and a key that a signature does not have is refused. Imports nothing heavy.
"""

import difflib
import inspect
import json
import pkgutil
import re
import sys
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union
from urllib.parse import SplitResult, urlsplit

from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen, MinLen, Predicate

MOST = 3.4028234663852886e38  # the largest float32; above it a number is infinite on a device
LEAST = 1e-30  # what is less is 0 in float32, or its square is
MOST_WHOLE = 2**31 - 1
LOOPBACK = ("localhost", "127.0.0.1", "::1")  # names of this machine that no other has

Number = Annotated[float, Ge(-MOST), Le(MOST)]
NonNegative = Annotated[float, Ge(0), Le(MOST)]
Positive = Annotated[float, Ge(LEAST), Le(MOST)]
Weight = Annotated[int | float, Ge(-1e6), Le(1e6)]  # of something in a sum: more drowns all else
Coefficient = Annotated[float, Ge(0), Le(1e6)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Probability = Annotated[float, Gt(0), Lt(1)]  # of what is neither certain nor impossible
ShareBelow1 = Annotated[float, Ge(0), Lt(1)]
Temperature = Annotated[float, Ge(0), Le(0)] | Annotated[float, Ge(1e-3), Le(1e3)]
Scale = Annotated[float, Ge(0.125), Le(16)]  # of drawn pictures: 8 pixels of a portrait, to 1,024

Whole = Annotated[int, Ge(0), Le(MOST_WHOLE)]  # where 0 is never, or none
Count = Annotated[int, Ge(1), Le(MOST_WHOLE)]
Amount = Annotated[int, Ge(1), Le(10**6)]  # of what is held in memory at a time
AmountOrNone = Annotated[int, Ge(0), Le(10**6)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]  # NumPy takes no other
Seconds = Annotated[float, Gt(0), Le(86400)]  # that something may take: up to a day
Side = Annotated[int, Ge(1), Le(2**14)]  # of a picture, in pixels
Area = Annotated[int, Ge(1), Le(2**28)]

Concepts = Annotated[int, Ge(1), Le(5)]  # how many a scene has
ConceptCounts = (
    Annotated[Sequence[Concepts], MinLen(1)] | Annotated[Mapping[Concepts, Coefficient], MinLen(1)]
)


def is_said(text: str) -> bool:
    """Text that is not empty."""
    return bool(text.strip()) and "\0" not in text


def is_folder_name(text: str) -> bool:
    """The name of a folder: letters, digits and _ . + - alone, and no . at its beginning."""
    return re.fullmatch(r"[\w+-][\w.+-]{0,99}", text) is not None


def is_device(text: str) -> bool:
    """One of auto, cpu, cuda, or cuda:1 where there are several."""
    return re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text) is not None


def address(text: str) -> SplitResult | None:
    """Split a server's address into its parts; None if it is none."""
    try:
        url = urlsplit(text)
        is_one = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # of the port, or of a bracket
        return None
    return url if is_one else None


def is_server(text: str) -> bool:
    """A server's address and nothing behind it, like http://127.0.0.1:8000."""
    url = address(text)
    return url is not None and "@" not in url.netloc and not (url.path.strip("/") or url.query)


def is_number_key(text: str) -> bool:
    """The key of a number, with a / in it: val/3/accuracy."""
    return "/" in text and all(part.strip(". ") for part in text.split("/"))


def is_json(value: object) -> bool:
    """What JSON can say: no number that is not finite."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def is_range(pair: Sequence[int]) -> bool:
    """Two whole numbers, the smaller one first."""
    return len(pair) == 2 and pair[0] <= pair[1]


def holds_a_part(value: object) -> bool:
    """A mapping with a part in it."""
    return isinstance(value, Mapping) and any(map(_is_part, value.values()))


def are_different(values: Sequence[str]) -> bool:
    """A list of names, each of them once."""
    return len(set(values)) == len(values)


Text = Annotated[str, Predicate(is_said)]
Names = Annotated[Sequence[Text], Predicate(are_different)]
FolderName = Annotated[str, Predicate(is_folder_name)]
Device = Annotated[str, Predicate(is_device)]
ServerAddress = Annotated[str, Predicate(is_server)]
Tasks = Annotated[Collection[Text], MinLen(1)]  # of examples: caption, same, locate, ...
Questions = Annotated[Sequence[Text], MinLen(1)]
Missing = Literal["refuse", "skip"]  # what is done about files that are not there

MISSING = "???"  # given by the code that makes the part
_TARGET = "_target_"
_LOOKED_UP = ("hydra.utils.get_method", "hydra.utils.get_object")  # have a path and nothing else
_HYDRA = (_TARGET, "_partial_", "_convert_", "_recursive_", "_args_")
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_PLAIN = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "text",
    None: "null",
    NoneType: "null",
}
_LISTS = (Sequence, Collection, Iterable, list, tuple, set, frozenset)
_MAPPINGS = (Mapping, dict)


class Place(NamedTuple):
    """A value with the key that a user would type for it, and as it stands before references."""

    value: Any
    raw: Any
    key: str


class Door:
    """Checks a configuration against the signatures of those who take its values.

    Args:
        raw: the configuration as plain values, with its references (``${kl.coef}``).
        resolved: the same, with what they lead to.
        removed: keys that the command takes away.

    Attributes:
        taken: keys that somebody takes, with all below them -> what they may be.
    """

    def __init__(
        self,
        raw: Mapping[Any, Any],
        resolved: Mapping[Any, Any],
        *,
        removed: Collection[str] = (),
    ) -> None:
        self.raw, self.resolved, self.removed = raw, resolved, removed
        self.taken: dict[str, Any] = dict.fromkeys(_references(raw), Any)
        self._seen: set[str] = set()

    def check(self, read: Mapping[str, Any]) -> None:
        """Check every part that there is, and what is no part's.

        Args:
            read: keys that the calling code reads itself -> what they may be.

        Raises:
            ValueError: names the key, the value, and what it may be.
        """
        root = Place(self.resolved, self.raw, "")
        for key, hint in read.items():
            place = root
            for name in key.split("."):
                if not isinstance(place.value, Mapping) or name not in place.value:
                    break
                place = self._child(place, name)
            else:
                self.taken |= {key: hint, place.key: hint}
                self._demand(place, hint)
                continue
            if NoneType not in _options(hint):
                raise ValueError(f"{key}: is missing; it should be {may_be(hint)}")
        self._parts(root)

    def untaken(self) -> list[str]:
        """Keys that have a value, and nobody who takes it."""
        above = {parent for key in self.taken for parent in _with_parents(key)}
        return [
            key
            for key, value in leaves(self.resolved)
            if value is not None  # says nothing
            and key.rpartition(".")[2] not in _HYDRA
            and key not in above
            and self.taken.keys().isdisjoint(_with_parents(key))
        ]

    def refuse_untaken(self, given: Collection[str]) -> None:
        """Raise for a given key whose value, or one below it, nobody takes."""
        untaken = self.untaken()
        for key in given:
            if any(_is_inside(leaf, key) for leaf in untaken):
                known = {*self.taken, *(k for k, _ in leaves(self.resolved))} - {*untaken}
                near = nearest(key, sorted(k for k in known if not k.endswith(_HYDRA)))
                raise ValueError(f"{key}: nothing reads it{near}")

    def _parts(self, place: Place) -> None:
        """Find the parts below a place, wherever they are, and check their arguments."""
        if _is_part(place.value):
            self._part(place)
        elif isinstance(place.value, Mapping | list):
            names = place.value if isinstance(place.value, Mapping) else range(len(place.value))
            for name in names:
                self._parts(self._child(place, name))

    def _part(self, place: Place) -> None:
        if place.key in self._seen:
            return
        self._seen.add(place.key)
        signature = signature_of(self._locate(self._child(place, _TARGET)))
        for name in place.value:
            if name in _HYDRA:
                continue
            key, child = f"{place.key}.{name}", self._child(place, name)
            if name not in signature.hints and signature.others is None:
                near = nearest(key, [f"{place.key}.{known}" for known in signature.hints])
                raise ValueError(f"{key}: {_short(place.value[_TARGET])} has no such key{near}")
            hint = signature.hints.get(name, signature.others)
            self.taken |= {key: hint, child.key: hint}
            self._demand(child, hint)
            if place.value[_TARGET] in _LOOKED_UP:
                self._locate(child)
        for name in signature.required:
            if f"{place.key}.{name}" in self.removed:
                allowed = may_be(signature.hints[name])
                raise ValueError(f"{place.key}.{name}: is missing; it should be {allowed}")

    def _locate(self, place: Place) -> Any:
        """Import what a dotted path names."""
        try:
            found = _locate(place.value)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            told = f"{shown(place.value)} leads nowhere, as a dotted path ({error})"
            raise ValueError(f"{place.key}: {told}") from error
        if isinstance(found, ModuleType):
            raise ValueError(f"{place.key}: {shown(place.value)} is a module; name what is in it")
        return found

    def _demand(self, place: Place, hint: Any) -> None:
        if wrong := self._wrong(place, hint):
            raise ValueError(f"{wrong[0]}: {wrong[1]}")

    def _child(self, place: Place, name: Any) -> Place:
        """What stands below; a value that is a reference goes by the key that it leads to."""
        key = f"{place.key}.{name}".lstrip(".")
        if isinstance(place.value, list):
            key = f"{place.key}[{name}]"
        try:
            raw = place.raw[name]
        except (KeyError, TypeError, IndexError):
            raw = None
        while isinstance(raw, str) and (found := _REFERENCE.fullmatch(raw)):
            key, raw = found[1], _select(self.raw, found[1])
        return Place(place.value[name], raw, key)

    def _wrong(self, place: Place, hint: Any) -> tuple[str, str] | None:
        """The key that is wrong, and what is said of it; None where all is well."""
        value, options = place.value, _options(hint)
        if value == MISSING and isinstance(value, str):
            return None
        if _is_part(value):
            if all(_is_plain(option) for option in options):
                return place.key, f"is a part, and should be {may_be(hint)}"
            self._part(place)
            return None
        found = [self._wrong_as(place, option) for option in options]
        if None in found:
            return None
        # Of several types the one is meant whose insides are at fault.
        inner = [wrong for wrong in found if wrong is not None and wrong[0] != place.key]
        if inner:
            return inner[0]
        near = ""
        if isinstance(value, str) and (choices := [c for o in options for c in _choices(o)]):
            near = nearest(value, choices)
        return place.key, f"{shown(value)} is not {may_be(hint)}{near}"

    def _wrong_as(self, place: Place, hint: Any) -> tuple[str, str] | None:
        value, here = place.value, (place.key, "")
        base, limits = _limits(hint)
        origin, args = typing.get_origin(base) or base, typing.get_args(base)
        wrong = None
        if base in (Any, object) or isinstance(base, typing.TypeVar):
            self._parts(place)
        elif _is_plain(base):
            wrong = None if _is_of(value, base) else here
        elif typing.is_typeddict(base):
            wrong = self._wrong_fields(place, base) if isinstance(value, Mapping) else here
        elif origin in _LISTS:
            wrong = self._wrong_items(place, origin, args) if isinstance(value, list) else here
        elif origin in _MAPPINGS:
            wrong = self._wrong_entries(place, args) if isinstance(value, Mapping) else here
        else:
            wrong = here  # a class: something has to make it
        return wrong or (None if all(_holds(limit, value) for limit in limits) else here)

    def _wrong_fields(self, place: Place, shape: Any) -> tuple[str, str] | None:
        fields = _fields(shape)
        for name in place.value:
            child = self._child(place, name)
            if name not in fields:
                near = nearest(f"{place.key}.{name}", [f"{place.key}.{known}" for known in fields])
                return f"{place.key}.{name}", f"there is no such key{near}"
            self.taken |= {f"{place.key}.{name}": fields[name], child.key: fields[name]}
            if wrong := self._wrong(child, fields[name]):
                return wrong
        for name in sorted(shape.__required_keys__):
            if name not in place.value:
                return f"{place.key}.{name}", f"is missing; it should be {may_be(fields[name])}"
        return None

    def _wrong_items(self, place: Place, origin: Any, args: Any) -> tuple[str, str] | None:
        hints = list(args) or [Any]
        if origin is tuple and hints[-1] is not Ellipsis:
            if len(hints) != len(place.value):
                return place.key, f"{shown(place.value)} is not a list of {len(hints)}"
        else:
            hints = hints[:1] * len(place.value)
        for number, hint in enumerate(hints):
            if wrong := self._wrong(self._child(place, number), hint):
                return wrong
        return None

    def _wrong_entries(self, place: Place, args: Any) -> tuple[str, str] | None:
        of_key, of_value = args or (Any, Any)
        for name in place.value:
            if self._wrong_as(Place(name, None, ""), of_key):
                near = nearest(str(name), _choices(of_key))
                key = f"{place.key}.{name}"
                return key, f"the key {shown(name)} is not {may_be(of_key)}{near}"
            child = self._child(place, name)
            if of_value is not Any:
                self.taken[child.key] = of_value
            if wrong := self._wrong(child, of_value):
                return wrong
        return None


def may_be(hint: Any) -> str:
    """Say what an annotation allows.

    Example:
        >>> from collections.abc import Callable
        >>> may_be(Share | None), may_be(Sequence[Count])
        ('a number from 0 to 1, or null', 'a list (each a whole number of 1 or more)')
        >>> may_be(Literal["k2", "k3"]), may_be(Callable[..., Any])
        ('k2 or k3', 'a part (a mapping with _target_)')
    """
    said = [_may_be(option) for option in sorted(_options(hint), key=lambda o: o is NoneType)]
    return ", or ".join(dict.fromkeys(said))


def _may_be(hint: Any) -> str:
    base, limits = _limits(hint)
    origin, args = typing.get_origin(base) or base, typing.get_args(base)
    if choices := _choices(hint):
        *first, last = map(str, choices)
        return f"{', '.join(first)} or {last}" if first else last
    for limit in limits:
        if isinstance(limit, Predicate) and (said := inspect.getdoc(limit.func)):
            return f"{said[0].lower()}{said[1:].rstrip('.')}"
    if _is_plain(base):
        return _PLAIN[base] + _range(limits)
    if typing.is_typeddict(base):
        return f"a mapping with the keys {', '.join(_fields(base))}"
    if origin in _LISTS:
        item = may_be(args[0]) if args else "any value"
        return f"a list{' of one or more' if limits else ''} (each {item})"
    if origin in _MAPPINGS:
        return "a mapping" + (f" to {may_be(args[1])}" if args and args[1] is not Any else "")
    return "a part (a mapping with _target_)"


def _range(limits: Sequence[Any]) -> str:
    if any(isinstance(limit, MinLen) for limit in limits):
        return " that is not empty"
    low = next((x.ge for x in limits if isinstance(x, Ge)), None)
    above = next((x.gt for x in limits if isinstance(x, Gt)), None)
    high = next((x.le for x in limits if isinstance(x, Le)), None)
    below = next((x.lt for x in limits if isinstance(x, Lt)), None)
    if low == LEAST:
        low, above = None, 0
    if high in (MOST, MOST_WHOLE):
        high = None
    if low == -MOST:
        return " that is finite"
    if low is not None and high is not None:
        return f", {low}" if low == high else f" from {low} to {high}"
    start = f" of {low} or more" if low is not None else ""
    start = f" above {above}" if above is not None else start
    end = f"at most {high}" if high is not None else ""
    end = f"below {below}" if below is not None else end
    return start + (f" and {end}" if start and end else f" of {end}" * bool(end))


def nearest(wrong: str, known: Iterable[Any]) -> str:
    """Ask whether the likeliest of some names was meant; nothing where none is like it.

    Example:
        >>> nearest("grup_size", ["prompts", "group_size"])
        '; did you mean group_size?'
    """
    close = difflib.get_close_matches(wrong, list(map(str, known)), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def with_given_keys(told: str, raw: Mapping[Any, Any], given: Collection[str]) -> str:
    """Add to a part's complaint which of its values a command has given by other keys.

    Args:
        told: begins with the key of a part, or of a value.
        raw: the configuration as plain values, with its references.
        given: keys of the command.

    Example:
        >>> raw = {"length": {"unit": "null"}, "gate": {"given": "${length.unit}"}}
        >>> with_given_keys("gate: no reward yields 'null'", raw, ["seed", "length.unit"])
        "gate: no reward yields 'null'; see length.unit"
    """
    place = re.match(r"[\w.]+(?=[:\[])", told)
    is_named = any(re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", told) for key in given)
    if place is None or is_named:
        return told
    feeding = [place[0]]
    for key in feeding:
        feeding += sorted(_references(_select(raw, key)) - {*feeding})
    see = [k for k in given if any(_is_inside(k, f) or _is_inside(f, k) for f in feeding)]
    return f"{told}; see {', '.join(see)}" if see else told


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; an empty mapping is a leaf, and so is a list."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def shown(value: object) -> str:
    """A value as the command line has it, cut where it would fill a complaint."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = f"{value!r}" if isinstance(value, str) else text
    return text if len(text) <= 60 else f"{text[:59]}…"


class Signature(NamedTuple):
    """What each argument of a class or function may be.

    Attributes:
        hints: annotations by name; one that names what is imported for type checkers alone says
            nothing.
        required: arguments without a default.
        others: what arguments of other names may be; None: there are none.
    """

    hints: Mapping[str, Any]
    required: tuple[str, ...]
    others: Any


@cache
def signature_of(target: Any) -> Signature:
    """Read a signature; of what has none nothing is known."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return Signature({}, (), Any)
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = [parameter for parameter in parameters if parameter.kind not in kinds]
    others = [parameter for parameter in parameters if parameter.kind is kinds[0]]
    return Signature(
        {parameter.name: _hint(parameter, target) for parameter in named},
        tuple(parameter.name for parameter in named if parameter.default is parameter.empty),
        _hint(others[0], target) if others else None,
    )


def _hint(parameter: inspect.Parameter, target: Any) -> Any:
    hint = parameter.annotation
    if not isinstance(hint, str):
        return Any if hint is parameter.empty else hint
    try:
        own = SimpleNamespace(__annotations__={"": hint})
        names = vars(sys.modules[target.__module__])
        return typing.get_type_hints(own, names, include_extras=True)[""]
    except NameError:
        return Any


@cache
def _locate(path: str) -> Any:
    return pkgutil.resolve_name(path)


@cache
def _fields(shape: Any) -> dict[str, Any]:
    """The keys of a TypedDict, required or not, and what each may be."""
    marks = (typing.NotRequired, typing.Required)
    hints = typing.get_type_hints(shape, include_extras=True)
    return {k: h.__args__[0] if typing.get_origin(h) in marks else h for k, h in hints.items()}


def _options(hint: Any) -> tuple[Any, ...]:
    """The members of a union, those of unions within it too."""
    if typing.get_origin(hint) in (Union, UnionType):
        return tuple(option for arg in typing.get_args(hint) for option in _options(arg))
    return (hint,)


def _limits(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    limits = ()
    if typing.get_origin(hint) is Annotated:
        hint, limits = hint.__origin__, hint.__metadata__
    return (float if hint == int | float else hint), limits


def _choices(hint: Any) -> list[Any]:
    """The values that there are, of a Literal or of a ``Predicate(table.__contains__)``."""
    base, limits = _limits(hint)
    if typing.get_origin(base) is Literal:
        return list(typing.get_args(base))
    for limit in limits:
        table = getattr(getattr(limit, "func", None), "__self__", None)
        if isinstance(table, Mapping | Sequence | Collection) and not isinstance(table, str):
            return list(table)
    return []


def _holds(limit: Any, value: Any) -> bool:
    if isinstance(limit, Ge):
        return value >= limit.ge
    if isinstance(limit, Gt):
        return value > limit.gt
    if isinstance(limit, Le):
        return value <= limit.le
    if isinstance(limit, Lt):
        return value < limit.lt
    if isinstance(limit, Len | MinLen | MaxLen):
        most = getattr(limit, "max_length", None)
        return len(value) >= getattr(limit, "min_length", 0) and (
            most is None or len(value) <= most
        )
    return bool(limit.func(value)) if isinstance(limit, Predicate) else True


def _is_plain(hint: Any) -> bool:
    base, _ = _limits(hint)
    return base in _PLAIN or typing.get_origin(base) is Literal


def _is_of(value: Any, base: Any) -> bool:
    """Whether a value has just this type, or is one of a Literal's."""
    if typing.get_origin(base) is Literal:
        return any(type(value) is type(one) and value == one for one in typing.get_args(base))
    types = {float: (int, float), Path: (str,), None: (NoneType,)}
    return type(value) in types.get(base, (base,))


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and _TARGET in value


def _short(target: str) -> str:
    return target.rpartition(".")[2]


def _with_parents(key: str) -> list[str]:
    """A key and those of the branches that it is in: ``a``, ``a.b``, ``a.b[0]``."""
    return [key[: found.start()] for found in re.finditer(r"[.[]|$", key)]


def _is_inside(key: str, parent: str) -> bool:
    return key == parent or key.startswith((f"{parent}.", f"{parent}["))


def _references(tree: Any) -> set[str]:
    """Keys that references anywhere lead to, with their fallbacks."""
    if isinstance(tree, Mapping):
        return set().union(*map(_references, tree.values()))
    if isinstance(tree, list):
        return set().union(*map(_references, tree))
    return set(_REFERENCE.findall(tree)) if isinstance(tree, str) else set()


def _select(tree: Any, key: str) -> Any:
    for name in key.split("."):
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree
