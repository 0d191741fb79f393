"""A run's settings as plain values: its folder's name, and mistakes that can be told from them.

Imports nothing heavy; the command line reads this before there is anything to run.
"""

import difflib
import errno
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repic.tables.configuration import FILE, config_of

# Overrides that change where a run is kept, watched or begun, and not what it computes. Guards
# belong here so that a run which one of them has stopped can go on with another limit.
BESIDE = (
    "seed",
    "name",
    "outputs",
    "fresh",
    "logger",
    "hydra",
    "study",
    "table",
    "debug.traceback",
    "guards",
)
GUARDS = "phase.grpo.guards."
LONGEST_SLUG = 100
PAGE = "report.html"  # a run's last file
# Phases that do their work alone and give a table of their own, not a run to compare.
WITHOUT_MODEL = ("rescore", "check_data", "compare")


def phase_without_model(phases: Sequence[str]) -> str | None:
    """Return the phase that needs no model, if a method is one.

    Example:
        >>> phase_without_model(["rescore"]), phase_without_model(["sft", "grpo"])
        ('rescore', None)
    """
    return next((name for name in phases if name in WITHOUT_MODEL), None)


def key_of_override(override: str) -> str:
    """The key (or group) that an override of the command line sets.

    Example:
        >>> key_of_override("+phase.sft.iterations=3")
        'phase.sft.iterations'
    """
    return override.lstrip("+~").partition("=")[0]


def as_override(choice: object) -> str:
    """Write a group's choice as the command line does.

    Example:
        >>> as_override(["sft", "grpo"])
        '[sft,grpo]'
    """
    if isinstance(choice, str) or choice is None:
        return str(choice).replace("None", "null")
    assert isinstance(choice, Sequence)
    return f"[{','.join(map(str, choice))}]"


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
        key = key_of_override(override)
        is_named = key == "experiment" and override.partition("=")[2] == name
        if not is_named and key not in BESIDE and not key.startswith(("hydra.", "table.", GUARDS)):
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


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; an empty mapping is a leaf, and so is a list."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


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
            close = difflib.get_close_matches(key, base, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{file}: {key} is not a key of the configuration{hint}")


def refuse_stray_additions(added: Sequence[str], known: Collection[str]) -> None:
    """Raise for an override with a plus that begins a new branch: nothing would read it.

    Args:
        added: overrides such as ``+study=kl``, a group, or ``+reward.mine=1``, a key.
        known: what stands at the top of the configuration, and groups that may be appended.
    """
    for override in added:
        key = key_of_override(override)
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
            record = json.loads((page.parent / "summary.json").read_text(encoding="utf-8"))
            chosen = {group: str(option) for group, option in record["choices"].items()}
            made = config_of(page.parent) or {}
            is_namesake = chosen == told and made.get("name") == settings["name"]
            if is_namesake and _leaves_of(made) == wanted:
                return page.parent
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # somebody else's folder, or one that was tampered with: not the same
    return None


def _leaves_of(settings: Mapping[Any, Any]) -> dict[str, Any]:
    """What decides a run's results, by dotted key; ``BESIDE`` says what does not."""
    found = leaves(_comparable(settings))
    return {key: value for key, value in found if not key.startswith(GUARDS)}


def _comparable(settings: Mapping[Any, Any]) -> Any:
    """Without what does not matter, and in the types that a file gives back."""
    kept = {k: v for k, v in settings.items() if k not in (*BESIDE, "debug")}
    return json.loads(json.dumps({**kept, "seed": settings.get("seed")}))


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
