"""Give every key values that its signature forbids: each is refused in a sentence with its key.

    python -m tests.campaigns.values [--most 3] [group=option ...]

Values are made from the signatures, and pydantic, which knows the same annotations, says which of
them are allowed. Each is given on the command line itself, in a process of its own; what is allowed
goes as far as the parts of a run, made and checked.
"""

import argparse
import contextlib
import gc
import io
import json
import math
import os
import sys
import tempfile
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache, partial, reduce
from itertools import islice
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union

import typing_extensions
from hydra import compose, initialize_config_module
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from repic import run
from repic.assembly import READ, assemble
from repic.values import Door
from tests.campaigns.harness import Tried, apart, report

# Between them they make every class of the configuration.
COMPOSITIONS = (
    "judge=openai length=mask kl=adaptive",
    "retrieval=toybox advantage=gdpo loss=cispo",
    "retrieval=open_vocabulary_clip detector=open_vocabulary length=overlong",
    "retrieval=yolo_world_clip detector=text length=linear",
    "data=toybox_repic reward=repic length=minimum",
    "reward=balcaprl advantage=reinforce_pp loss=gspo logger=tensorboard",
    "reward=seed advantage=reinforce_pp_baseline trainer=gpu logger=wandb",
    "data=noise reward=none",
    "data=dreambooth reward=none model=qwen2_5_vl_3b",
    "data=montages reward=none",
    "data=repic_train reward=balcaprl_judge judge=local",
)
SMALL = ("debug=fast", "debug.traceback=false")
SMALL_CORPUS = "data.reward_corpus.dataset.size=20"

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
    return {
        key: hint
        for key, hint in door.taken.items()
        if judge_of(hint) is not None and "[" not in key and hint is not Any
    }


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


def as_text(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{name}:{as_text(v)}' for name, v in value.items())}}}"
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


def give(key: str, overrides: list[str]) -> tuple[str, str]:
    """Start the command with a value, up to the first phase; say how that ended."""
    run.run_phases, run.show_tables = check_parts, print
    sys.argv = ["repic", *overrides]
    status: object = 0
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            run.main()
        except SystemExit as end:
            status = end.code
    text = said.getvalue()
    if "Traceback" in text or status not in (0, 1):
        return "traceback", text
    if status == 0:
        return "taken", text
    is_line = text.startswith("repic: ") and text.count("\n") == 1
    return ("told" if is_line and key in text else "unnamed"), text


def check_parts(cfg: DictConfig, folder: Any, resolved: Any, *, record: Any) -> None:
    """In place of the phases: make a run's parts, and have them look at their settings."""
    parts = assemble(cfg, folder, resolved)
    for phase in parts.phases.values():
        phase.check(parts.context)


def keep_compositions() -> None:
    """Have Hydra make the same files' configuration once: children of this process find it made.

    What a command gives by key is put in afterwards, by Hydra itself, and that is what is tried.
    """
    lists: dict[str, Any] = {}
    made: dict[str, list[DictConfig]] = {}
    make_list = defaults_list._create_defaults_list
    compose_from = ConfigLoaderImpl._compose_config_from_defaults_list

    def kept_list(repo: Any, config_name: Any, overrides: Any, **options: bool) -> Any:
        given = (overrides.override_choices, overrides.append_group_defaults, overrides.deletions)
        key = f"{config_name} {given} {options}"
        if key not in lists:
            lists[key] = make_list(repo, config_name, overrides, **options), overrides
        found, first = lists[key]
        for name in ("known_choices", "known_choices_per_group", "override_metadata", "deletions"):
            setattr(overrides, name, getattr(first, name))
        return found

    def kept_config(self: Any, defaults: Any, repo: Any) -> DictConfig:
        copies = made.setdefault(str(defaults), [])
        if not copies:  # a child needs two, and what it takes is there for the next
            copies += [compose_from(self, defaults, repo) for _ in range(5)]
        return copies.pop()

    defaults_list._create_defaults_list = kept_list
    ConfigLoaderImpl._compose_config_from_defaults_list = kept_config


def campaign(compositions: Iterable[str], most: int) -> Iterator[Tried]:
    keep_compositions()
    seen: set[str] = set()
    for number, composition in enumerate(compositions):
        groups = composition.split()
        with initialize_config_module("repic.conf", version_base="1.3"):
            cfg = compose("config", overrides=groups)
            groups += [SMALL_CORPUS] * (cfg.data.get("reward_corpus") is not None)
            load = GlobalHydra.instance().config_loader().load_configuration
            for mode in (RunMode.MULTIRUN, RunMode.RUN):  # a command looks which it is, first
                load("config", [*SMALL, *groups], run_mode=mode)
        leaves = plain_leaves(cfg)
        gc.collect()
        gc.freeze()  # or each child copies all that there is
        for place, key in enumerate(sorted(leaves.keys() - seen)):
            held = OmegaConf.select(cfg, key, default=None)
            wrong = [v for v in malformed(leaves[key]) if not _is_merged(v, held)]
            right = [] if number else [v for v in well_formed(leaves[key]) if v != held]
            first = 5 * place  # another part of the list for each key
            tried = [(v, True) for v in islice([*wrong[first % len(wrong) :], *wrong], most)]
            tried += [(v, False) for v in right[place % max(len(right), 1) :][:1]]
            for value, may_not_pass in tried:
                with tempfile.TemporaryDirectory() as folder:
                    text = f"{key}={as_text(value)}"
                    given = [*SMALL, f"outputs={folder}", *groups, text]
                    end, said = apart(partial(give, key, given))
                yield Tried(f"{composition}: {text}", end, said, may_not_pass)
        seen |= leaves.keys()


def _is_merged(value: Any, held: Any) -> bool:
    """Whether the command line merges a value into what is there, so that it may change nothing."""
    return isinstance(value, Mapping) and isinstance(held, DictConfig)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("compositions", nargs="*", default=COMPOSITIONS)
    parser.add_argument("--most", type=int, default=3, help="wrong values of a key")
    options = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")  # nothing is asked
    return report(campaign(options.compositions, options.most))


if __name__ == "__main__":
    sys.exit(main())
