"""A run's settings as plain values: how commands and saved runs state them, and mistakes in them.

Imports nothing heavy; the command line reads this before there is anything to run.
"""

import difflib
import hashlib
import importlib.util
import json
import os
import re
import sysconfig
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import yaml

from repic.files import as_shape, files_below, key_of, read_json, read_text
from repic.values import leaves, nearest

FILE = "config.yaml"  # in a run's folder
PAGE = "report.html"  # a run's last file
SUMMARY = "summary.json"  # its results
INPUTS = "inputs.json"  # what its settings named was like this when its results were computed
SEED = "seed"
LONGEST_SLUG = 100

# Settings, and branches of them, that change where a run is kept, watched, begun or computed, and
# what is read off it, but no result: on other processes or devices it is the same up to rounding,
# and goes on where it was. Seeds are repetitions of one configuration. Guards belong here so that a
# run which one of them has stopped can go on with another limit.
BESIDE = (
    SEED,
    "name",
    "outputs",
    "fresh",
    "logger",
    "trainer",
    "hydra",
    "study",
    "table",
    "optimize",
    "debug.traceback",
    "guards",
    "phase.grpo.guards",
)

# Settings that change who is introduced in the prompts of the same scenes, and what they are
# where nobody says so. Rows with other values of these are other blocks of a table.
OF_PROMPT = {"retrieval": "skip", "phase.evaluate.demonstrations": "right"}

# Phases that do their work alone and give a table of their own, not a run to compare.
WITHOUT_MODEL = ("rescore", "check_data", "compare", "write_album")
# The last words of keys whose values may be folders that are read; any key's may be a file.
PLACES = ("path", "root", "photos", "train_photos", "captions", "against", "images")

_MEND = "mend the file, or remove it"
_DEEPEST = 100  # lists and mappings within each other in a run's configuration


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    """Reads what JSON can hold as well, and nothing else: a date is a text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """As the library does, which would keep the last of two equal keys without a word."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key, number in Counter(keys).items() if number > 1]:
            raise ValueError(f"the key {twice[0]!r} stands there twice")
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in _Loader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in "null bool int float str seq map".split()
}


class SavedRun(Protocol):
    """What a run's summary says of its settings."""

    @property
    def folder(self) -> Path: ...

    @property
    def overrides(self) -> Sequence[str]: ...

    @property
    def choices(self) -> Mapping[str, str]: ...


def phase_without_model(phases: Sequence[str]) -> str | None:
    """Return the phase that needs no model, if a method is one.

    Example:
        >>> phase_without_model(["rescore"]), phase_without_model(["sft", "grpo"])
        ('rescore', None)
    """
    return next((name for name in phases if name in WITHOUT_MODEL), None)


def changes_results(key: str) -> bool:
    """Whether a setting may change what a run computes; the seed counts as one that does not.

    Example:
        >>> changes_results("kl.coef"), changes_results("logger.group"), changes_results("seed")
        (True, False, False)
    """
    return not f"{key}.".startswith(tuple(f"{beside}." for beside in BESIDE))


def split_override(override: str) -> tuple[str, str]:
    """The key (or group) that an override of the command line sets, and the value.

    Example:
        >>> split_override("+phase.sft.iterations=3")
        ('phase.sft.iterations', '3')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value


def as_override(value: object) -> str:
    """Write a group's choice, or a key's value, as the command line does.

    Example:
        >>> as_override(["sft", None]), as_override(True)
        ('[sft,null]', 'true')
    """
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_override, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def slug(overrides: Sequence[str], name: str) -> str:
    """Name what a command changes, for its folder: the same for the same command.

    Args:
        overrides: the command line's.
        name: the run's; an experiment of that name needs no mention.

    Example:
        >>> slug(["seed=1", "+experiment=toys", "reward=quality", "kl=low"], "toys")
        'kl-low+reward-quality'
        >>> slug(["seed=1"], "run")
        'default'
    """
    told = []
    for override in overrides:
        key, value = split_override(override)
        if (key, value) != ("experiment", name) and changes_results(key):
            told.append(override.lstrip("+"))
    text = "+".join(sorted(told)) or "default"
    safe = re.sub(r"[^\w.+-]", "-", re.sub(r"[][{}'\" ]", "", text).replace(",", "_"))
    if safe == text.replace("=", "-") and len(safe) <= LONGEST_SLUG:
        return safe
    # Characters were lost or there are too many of them; the hash tells such commands apart.
    return f"{safe[:LONGEST_SLUG]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_folder(output_dir: Path, *, fresh: bool) -> Path:
    """Where a command's run is: in the newest of its numbered folders, or in a new one.

    Args:
        output_dir: the first run's folder; ``fresh`` makes ``-2``, ``-3``, … beside it.
        fresh: start anew.
    """
    numbers = [1]
    if output_dir.parent.is_dir():
        pattern = re.compile(re.escape(output_dir.name) + r"-(\d+)")
        found = map(pattern.fullmatch, os.listdir(output_dir.parent))
        numbers += [int(match[1]) for match in found if match]
    newest = max(numbers)
    if fresh and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("fresh: several processes cannot agree on a number; use another name=")
    if fresh and (newest > 1 or (output_dir / FILE).exists()):
        newest += 1
    return output_dir if newest == 1 else output_dir.with_name(f"{output_dir.name}-{newest}")


def refuse_unknown_keys(file: str, tree: Any, known: Any, added: Sequence[str]) -> None:
    """Raise for a key that a file brought in and the base configuration does not have.

    Args:
        file: what to blame.
        tree: the whole configuration.
        known: the configuration of the same groups, without the file.
        added: keys that the command line adds on purpose.
    """
    base = dict(leaves(known))
    for key, _ in leaves(tree):
        # A list that becomes a mapping (counts with weights) is a value, not new keys.
        parents = [key.rsplit(".", n)[0] for n in range(1, key.count(".") + 1)]
        is_known = key in base or any(parent in base for parent in parents)
        is_open = any(parent.endswith("counts") for parent in parents)
        is_added = any(key == a or key.startswith(f"{a}.") for a in added)
        if not (is_known or is_open or is_added or _is_inner(key, base)):
            near = nearest(key, base)
            raise ValueError(f"{file}: {key} is not a key of the configuration{near}")


def refuse_stray_additions(added: Sequence[str], known: Collection[str]) -> None:
    """Raise for an override with a plus that begins a new branch: nothing would read it.

    Args:
        added: overrides such as ``+study=kl``, a group, or ``+reward.mine=1``, a key.
        known: what stands at the top of the configuration, and groups that may be appended.
    """
    for override in added:
        key = split_override(override)[0]
        top = re.split(r"[./@]", key)[0]
        if top not in known:
            close = difflib.get_close_matches(top, known, n=1)
            hint = f"; did you mean {override.replace(top, close[0], 1)}?" if close else ""
            raise ValueError(f"{override}: {top} is neither a key nor a group{hint}")


def _is_inner(key: str, base: Mapping[str, Any]) -> bool:
    """Whether a leaf stands where the base has a whole branch, as null does to remove it."""
    return any(known.startswith(f"{key}.") for known in base)


def refuse_other_settings(folder: Path, settings: Mapping[Any, Any]) -> None:
    """Raise if a folder's run was started with other settings than it would go on with."""
    made = config_of(folder)
    if made is None:
        return
    before, now = _leaves_of(made), _leaves_of(settings)
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        key = changed[0]
        raise ValueError(
            f"{folder}: was made with {key}={before.get(key)}, not {now.get(key)}"
            + (f" ({len(changed)} keys differ)" if len(changed) > 1 else "")
            + "; add fresh=true to start anew, or give the run another name="
        )


def inputs_of(settings: Mapping[Any, Any]) -> dict[str, str]:
    """Hash the state of all files that settings name, by key: names, sizes and times.

    That is whatever lies at a key of ``PLACES``, single files that any key names, and the code
    of one's own that a dotted path names. Contents would take minutes for a large model; a folder
    that was only copied counts as another.
    """
    outputs = Path(str(settings.get("outputs", ""))).absolute()
    found = {}
    for key, value in leaves(settings):
        if isinstance(value, str) and (place := _place_of(key, value)) is not None:
            found[key] = _state_of(place, outputs)
    own = (settings.get("reward") or {}).get("own") or []
    for name in [own] if isinstance(own, str) else own:
        if (code := _code_of(str(name).partition(":")[0])) is not None:
            found[f"reward.own.{name}"] = _state_of(code, outputs)
    return found


def is_summed_up(folder: Path, settings: Mapping[Any, Any]) -> bool:
    """Whether a run's results are there, and are those of the files that there are now."""
    is_there = (folder / SUMMARY).exists() and (folder / INPUTS).exists()
    return is_there and not changed_inputs(folder, settings)


def _state_of(place: Path, outputs: Path) -> str:
    held = [place] if place.is_file() else sorted(files_below(place))
    stats = [
        (str(file.relative_to(place)), file.stat().st_size, file.stat().st_mtime_ns)
        for file in held
        if file.is_file()
        and (outputs not in file.parents or outputs in place.parents)
        and file.suffix != ".pyc"
    ]
    return key_of(stats)


def _place_of(key: str, value: str) -> Path | None:
    """Return the file or folder that a value names, or the code."""
    last = key.rpartition(".")[2]
    if last in ("_target_", "function"):
        return _code_of(value)
    place = Path(value).expanduser().absolute()
    try:
        is_there = place.exists() if last in PLACES else place.is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return None
    return place if is_there else _code_of(value) if last == "path" else None


def _code_of(name: str) -> Path | None:
    """Return the module's file, or the package's folder, of a dotted path to code of one's own.

    Nothing is imported. What is installed does not change from run to run.
    """
    top, dot, _ = name.partition(".")
    if not dot or not top.isidentifier() or top == __name__.partition(".")[0]:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    origin = Path(spec.origin)
    installed = {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")}
    if not installed.isdisjoint(origin.parents):
        return None
    return origin.parent if origin.name == "__init__.py" else origin


def changed_inputs(folder: Path, settings: Mapping[Any, Any]) -> list[str]:
    """Keys whose folders have changed since a run has finished."""
    if not (folder / INPUTS).exists():
        return []
    path = folder / INPUTS
    before, now = as_shape(dict[str, str], read_json(path), str(path)), inputs_of(settings)
    return [key for key, state in before.items() if now.get(key) != state]


def same_run(
    output_dir: Path, settings: Mapping[Any, Any], choices: Mapping[str, Any]
) -> Path | None:
    """The finished run that another command made with these very settings, the newest of several.

    ``kl=default`` says in words what is so anyway, and gives a folder of another name. Choices of
    groups have to be the same, too, since tables call runs by them.

    Args:
        output_dir: the command's folder, in which no run has begun; its neighbours are looked at.
        settings: the resolved configuration.
        choices: the option that was chosen in each group.
    """
    wanted = _leaves_of(settings)
    told = {group: str(option) for group, option in choices.items()}
    pages = output_dir.parent.parent.glob(f"*/{output_dir.name}*/{PAGE}")
    for page in sorted(pages, key=lambda page: page.stat().st_mtime, reverse=True):
        try:
            record = read_json(page.parent / SUMMARY)
            chosen = {group: str(option) for group, option in record["choices"].items()}
            made = config_of(page.parent) or {}
            is_namesake = chosen == told and made.get("name") == settings["name"]
            is_same = is_namesake and _leaves_of(made) == wanted
            if is_same and not changed_inputs(page.parent, settings):
                return page.parent
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # somebody else's folder, or one that was tampered with: not the same
    return None


def _leaves_of(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """What decides a run's results, by dotted key, in the types that a file gives back."""
    # What a debugging option changes stands where it is changed.
    plain = json.loads(json.dumps({k: v for k, v in settings.items() if k != "debug"}))
    return {key: value for key, value in leaves(plain) if key == SEED or changes_results(key)}


def configured(folder: Path, keys: Sequence[str]) -> dict[str, str]:
    """Values of a run's configuration by dotted key, as the command line writes them.

    Left out are keys that are not there, or stand for a whole branch; all of them in runs that
    kept no configuration, or one that cannot be read: a table goes by what commands said, then.
    """
    try:
        found = dict(leaves(config_of(folder) or {})) if keys else {}
    except ValueError:
        return {}
    there = {key: found[key] for key in keys if key in found}
    return {key: as_override(v) for key, v in there.items() if not isinstance(v, Mapping)}


def config_of(folder: Path) -> Mapping[Any, Any] | None:
    """A run's configuration, each version of its file parsed once; None if it kept none.

    Raises:
        ValueError: the file is not YAML in UTF-8, or holds no mapping.
    """
    path = folder / FILE
    return _parse(path, path.stat().st_mtime_ns) if path.exists() else None


@lru_cache(maxsize=1024)
def _parse(path: Path, _version: int) -> Mapping[Any, Any]:
    found = read_yaml(path)
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: holds no settings; {_MEND}")
    return found


def read_yaml(path: Path) -> Any:
    """Read a file of plain values, whoever wrote it.

    Raises:
        ValueError: as ``repic.files.read_text``; or it is not YAML, or would fill the memory.
    """
    text = read_text(path)
    try:
        _refuse_bombs(text)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: not YAML ({' '.join(str(error).split())}); {_MEND}") from error


def _refuse_bombs(text: str) -> None:
    """Raise for YAML that is harmless to write down and not to read.

    The library crashes on what is nested deeply, and names for parts (which no run writes) may
    stand for a thousand times as much as there is.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor}, which no run writes")


def varying_keys(runs: Sequence[SavedRun]) -> tuple[str, ...]:
    """Configuration keys in which runs differ, but for those that change no result."""
    settings = settings_of_each(runs)
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return tuple(
        key for key in keys if changes_results(key) and len({s.get(key) for s in settings}) > 1
    )


def settings_of(run: SavedRun) -> dict[str, str]:
    """Choices and overrides of a run by key; a choice says more than the override behind it."""
    return {**OF_PROMPT, **dict(map(split_override, run.overrides)), **run.choices}


def settings_of_each(runs: Sequence[SavedRun]) -> list[dict[str, str]]:
    """``settings_of`` every run, of all keys that any run was told.

    What one command says, another may leave as it is: a value that a run was not told is read
    from its configuration, and those that it was told are written as there.
    """
    found = [settings_of(run) for run in runs]
    told = dict.fromkeys(key for settings in found for key in settings)
    unequal = [key for key in told if len({settings.get(key) for settings in found}) > 1]
    for run, settings in zip(runs, found, strict=True):
        settings |= configured(run.folder, [key for key in unequal if key not in run.choices])
    return found


def is_of_prompt(key: str) -> bool:
    """Whether a setting changes who is introduced in the prompts of the same scenes."""
    return key in OF_PROMPT or key.startswith("retrieval.")


def cores(threads: int, workers: int) -> int:
    """How many cores a process uses that computes by so many threads beside its workers."""
    return threads + workers


def gpus(tasks: int, accelerator: str) -> int | None:
    """How many GPUs a machine lends to so many processes; None: nothing is asked for."""
    return tasks if accelerator == "gpu" else None


def jobs_at_once(threads: int, workers: int, accelerator: str) -> int:
    """How many jobs this machine does at a time: those that its cores, or its GPU, are enough for.

    Cores that this process may use count, not those that there are (affinity, control groups,
    ``LOKY_MAX_CPU_COUNT``). Jobs on a GPU take the first one.
    """
    from joblib import cpu_count

    return max(1, cpu_count() // cores(threads, workers)) if accelerator == "cpu" else 1
