"""Friends are learnt once: what a system keeps of each is a file, found by what decides it.

Whatever decides a state is in its name: the system with all its settings, the model's files, and
all that the friend's pictures hold. So every run and every scene reuses it, an interrupted
enrolment goes on with the friend that it was at, ranks share the friends out, and processes beside
each other take them in different orders, each friend under a lock.
"""

import contextlib
import json
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repic import distributed, files
from repic.captioners.captioner import Cost, Enrolled, Enrolling, Together
from repic.metrics.names import key_of
from repic.progress import ProgressLine
from repic.types import Friend, picture_content
from repic.words import counted

log = logging.getLogger(__name__)


def check_friends(name: str, needs: int, friends: Sequence[Friend]) -> None:
    """Refuse friends that a captioner cannot learn, before anything is computed.

    Args:
        name: the captioner's.
        needs: pictures of each friend that it needs.
        friends: all of them.

    Raises:
        ValueError: there is nobody; somebody has too few pictures, another's name, or is among
            their own negatives.
    """
    if needs and not friends:
        raise ValueError(
            f"captioner.{name} learns friends, and this data has none; use data=toybox_cast, or"
            " dreambooth, myvlm or yollava with data.friends.pictures=2, or take"
            f" {name} out of method.evaluated"
        )
    for twice, number in Counter(friend.name for friend in friends).items():
        if number > 1:
            raise ValueError(f"data.friends: {number} friends are called {twice}; rename all but 1")
    spelt: dict[str, str] = {}
    for friend in friends:
        if (other := spelt.setdefault(key_of(friend.name), friend.name)) != friend.name:
            raise ValueError(
                f"data.friends: {other} and {friend.name} are two spellings of one name; rename one"
            )
    for friend in friends:
        if len(friend.shots) < needs:
            has = counted(len(friend.shots), "picture") if friend.shots else "no picture"
            raise ValueError(
                f"data.friends: {friend.name} has {has} to learn from, and captioner.{name} needs"
                f" {needs}; raise data.friends.pictures or add some, or lower"
                f" captioner.{name}.needs"
            )
        own = {picture_content(shot.image) for shot in friend.shots}
        for negative in (*friend.lookalikes, *friend.others):
            if picture_content(negative) in own:
                raise ValueError(
                    f"data.friends: {negative.key} is a picture of {friend.name}, and among those"
                    f" that do not show {friend.name}; take it out of one of the two"
                )


def friend_content(friend: Friend) -> list[object]:
    """All that is known of a friend, pictures by what they hold."""
    shots = [[picture_content(shot.image), *shot.captions] for shot in friend.shots]
    negatives = [[picture_content(p) for p in some] for some in (friend.lookalikes, friend.others)]
    return [friend.name, friend.info, friend.category, shots, negatives]


def enroll_all(
    name: str, captioner: Enrolling, friends: Callable[[], Sequence[Friend]], folder: Path
) -> str:
    """Let a captioner meet the friends, and learn those whom it has not learnt before.

    All ranks call this together.

    Args:
        name: the captioner's.
        captioner: knows the friends afterwards.
        friends: all of them.
        folder: where states are kept.

    Returns:
        A hash of all that it knows of the friends.
    """
    known = list(friends())
    check_friends(name, captioner.needs, known)
    groups = groups_of(captioner, known)
    keys = [key for group in groups for key in state_keys(captioner, group)]
    learnt: dict[str, Enrolled] = {}
    if captioner.needs:
        paths = {f.name: folder / f"{k}.safetensors" for f, k in zip(known, keys, strict=True)}
        mine = groups[distributed.own()]
        random.Random(os.getpid()).shuffle(mine)
        progress = ProgressLine(f"{name} learns friends", sum(map(len, mine)), {})
        is_main = distributed.rank() == 0
        if is_main:
            progress.start(0)
        try:
            done = 0
            for group in mine:
                _enroll_group(captioner, group, [paths[friend.name] for friend in group])
                done += len(group)
                if is_main:
                    progress.update({}, done)
        finally:
            progress.stop()
        distributed.barrier()
        for friend in known:
            learnt[friend.name] = read_state(paths[friend.name], captioner, friend)
    captioner.meet(known, learnt)
    return files.key_of(keys)


def groups_of(captioner: Enrolling, friends: Sequence[Friend]) -> list[Sequence[Friend]]:
    """Friends who are learnt at the same time, in their order; each alone, as a rule."""
    size = captioner.together if isinstance(captioner, Together) else 1
    return [friends[first : first + size] for first in range(0, len(friends), size)]


def state_keys(captioner: Enrolling, group: Sequence[Friend]) -> list[str]:
    """What decides the state of each of a group: all that is known of all of them."""
    contents = [friend_content(friend) for friend in group]
    beside = [contents] if len(group) > 1 else []
    return [files.key_of([captioner.enroll_key, content, *beside]) for content in contents]


def _enroll_group(captioner: Enrolling, group: Sequence[Friend], paths: Sequence[Path]) -> None:
    """Learn a group, unless all of it is kept; nobody else does so meanwhile."""
    with contextlib.ExitStack() as held:
        for path in paths:
            held.enter_context(files.only_one(path.with_suffix(".lock"), wanted=True))
        kept = [_kept(path, captioner, friend) for path, friend in zip(paths, group, strict=True)]
        if None in kept:
            if isinstance(captioner, Together):
                made = captioner.enroll_group(group)
            else:
                made = [captioner.enroll(friend) for friend in group]
            for path, friend, enrolled in zip(paths, group, made, strict=True):
                write_state(path, captioner, friend, enrolled)


def write_state(path: Path, captioner: Enrolling, friend: Friend, made: Enrolled) -> None:
    """Keep what was learnt of a friend, and by whom.

    Raises:
        ValueError: it holds no numbers to compute with; nothing is kept.
    """
    if (wrong := _not_finite(made.state)) is not None:
        raise ValueError(
            f"{captioner.labels.label}: what was learnt of {friend.name} is not finite ({wrong}),"
            " and is not kept; lower its learning rate"
        )
    said = {"key": captioner.enroll_key, "name": friend.name, "cost": json.dumps(asdict(made.cost))}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in made.state.items()}

    def write(part: Path) -> None:
        part.touch()
        mode = part.stat().st_mode  # a new file's; the library writes for its owner alone
        save_file(tensors, part, metadata=said)
        part.chmod(mode)

    files.write_file(path, write)


def read_state(path: Path, captioner: Enrolling, friend: Friend) -> Enrolled:
    """Read what was learnt of a friend.

    Raises:
        ValueError: the file is damaged; another model, tokenizer or setting made it; or it is
            another friend's.
    """
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            names = file.keys()
            state = {name: file.get_tensor(name) for name in names}
        cost = files.as_shape(Cost, json.loads(said.get("cost", "{}")), f"{path}, cost")
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: what is kept of {friend.name} is damaged ({error})") from None
    if said.get("name") != friend.name:
        raise ValueError(f"{path}: was learnt of {said.get('name')}, not of {friend.name}")
    if said.get("key") != captioner.enroll_key:
        raise ValueError(
            f"{path}: what is kept of {friend.name} was learnt by another model or tokenizer, or"
            " with other settings"
        )
    if (wrong := _not_finite(state)) is not None:
        raise ValueError(f"{path}: what is kept of {friend.name} is not finite ({wrong})")
    return Enrolled(state, Cost(**{**asdict(cost), "bytes": path.stat().st_size}))


def _not_finite(state: Mapping[str, Tensor]) -> str | None:
    """The first of a state's tensors that holds NaN or infinity."""
    return next((name for name, tensor in state.items() if not tensor.isfinite().all()), None)


def _kept(path: Path, captioner: Enrolling, friend: Friend) -> Enrolled | None:
    """What an earlier run has learnt; what is of no use is set aside, with a word."""
    if not path.exists():
        return None
    try:
        return read_state(path, captioner, friend)
    except ValueError as error:
        aside = files.set_aside(path)
        log.warning("%s; it is set aside as %s, and learnt again", error, aside.name)
        return None


def mean_cost(learnt: Sequence[Enrolled], needs: int) -> Cost:
    """What one of some friends has cost, on average."""
    if not learnt:
        return Cost(pictures=needs)
    costs = [enrolled.cost for enrolled in learnt]
    tokens = [cost.prompt_tokens for cost in costs if cost.prompt_tokens is not None]
    return Cost(
        pictures=round(fmean(cost.pictures for cost in costs)),
        seconds=round(fmean(cost.seconds for cost in costs), 3),
        parameters=round(fmean(cost.parameters for cost in costs)),
        bytes=round(fmean(cost.bytes for cost in costs)),
        prompt_tokens=round(fmean(tokens), 2) if tokens else None,
    )
