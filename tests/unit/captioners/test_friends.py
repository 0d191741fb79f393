"""Each friend is learnt once, and what is wrong with friends or files is said."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from repic.captioners.captioner import Caption, Cost, Enrolled, Enrolling, Labels, Together
from repic.captioners.friends import check_friends, enroll_all, mean_cost, read_state, write_state
from repic.toybox.scene import portrait
from repic.toybox.world import toys
from repic.types import Example, Friend, Shot

A, B, C = toys("test")[:3]


def friend(name: str, *, pictures: int = 2) -> Friend:
    shots = tuple(Shot(portrait(A, f"{name}/{i}", scale=1.0)) for i in range(pictures))
    return Friend(name, "a bear", "bear", shots, (portrait(B, "b", scale=1.0),))


class Learner:
    labels = Labels("learner", "learner", is_shared=True, has_model=True)
    key, needs, enroll_key = "learner", 2, "model a"
    decoding: str | None = None

    def __init__(self, limit: int = 9) -> None:
        self.limit, self.enrolled = limit, []
        self.friends: dict[str, Friend] = {}
        self.learnt: dict[str, Enrolled] = {}

    def enroll(self, friend: Friend) -> Enrolled:
        if len(self.enrolled) == self.limit:
            raise KeyboardInterrupt
        self.enrolled.append(friend.name)
        state = {"vector": torch.full((3,), float(len(friend.name)))}
        return Enrolled(state, Cost(pictures=2, seconds=1.5, parameters=3, prompt_tokens=1.0))

    def meet(self, friends: Sequence[Friend], learnt: Mapping[str, Enrolled]) -> None:
        self.friends, self.learnt = {f.name: f for f in friends}, dict(learnt)

    def write(self, examples: Sequence[Example]) -> list[Caption]:
        return [Caption("", True) for _ in examples]

    def cost(self) -> Cost:
        return mean_cost(list(self.learnt.values()), self.needs)


class Grouped(Learner):
    together = 2

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[tuple[str, ...]] = []

    def enroll_group(self, friends: Sequence[Friend]) -> list[Enrolled]:
        self.groups.append(tuple(friend.name for friend in friends))
        return [self.enroll(friend) for friend in friends]


FRIENDS = [friend("<bo>"), friend("<momi>"), friend("<ti>")]


def enroll(learner: Learner, folder: Path, friends: Sequence[Friend] = FRIENDS) -> str:
    assert isinstance(learner, Enrolling)
    return enroll_all("learner", learner, lambda: friends, folder)


def test_an_interrupted_enrolment_goes_on_and_nobody_is_learnt_twice(tmp_path: Path) -> None:
    first = Learner(limit=2)
    with pytest.raises(KeyboardInterrupt):
        enroll(first, tmp_path)
    second = Learner()
    key = enroll(second, tmp_path)
    assert sorted(first.enrolled + second.enrolled) == ["<bo>", "<momi>", "<ti>"]
    assert second.learnt["<momi>"].state["vector"].tolist() == [6.0] * 3
    third = Learner(limit=0)
    assert enroll(third, tmp_path) == key
    cost = third.cost()
    assert (cost.pictures, cost.seconds, cost.parameters, cost.prompt_tokens) == (2, 1.5, 3, 1.0)
    assert cost.bytes == next(tmp_path.glob("*.safetensors")).stat().st_size


def test_two_at_a_time_share_the_work(tmp_path: Path) -> None:
    learners = [Learner(), Learner()]
    threads = [threading.Thread(target=enroll, args=(one, tmp_path)) for one in learners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(name for one in learners for name in one.enrolled) == ["<bo>", "<momi>", "<ti>"]
    assert all(len(one.learnt) == 3 for one in learners)


def test_friends_who_are_learnt_together_are_kept_apart(tmp_path: Path) -> None:
    first = Grouped()
    assert isinstance(first, Together)
    key = enroll(first, tmp_path)
    assert sorted(first.groups) == [("<bo>", "<momi>"), ("<ti>",)]
    assert first.learnt["<momi>"].state["vector"].tolist() == [6.0] * 3
    again = Grouped()
    assert enroll(again, tmp_path) == key
    assert again.groups == []
    # Whoever stands beside a friend decides the friend's state.
    enroll(again, tmp_path, [FRIENDS[0], FRIENDS[2], FRIENDS[1]])
    assert sorted(again.groups) == [("<bo>", "<ti>"), ("<momi>",)]


def learn_in_a_process(folder: Path, told: Path, friends: Sequence[Friend], pause: float) -> None:
    """Learn slowly, and write down who was begun and who was done."""

    class Slow(Learner):
        def enroll(self, friend: Friend) -> Enrolled:
            with told.open("a") as file:
                print("begun", friend.name, os.getpid(), file=file)
            time.sleep(pause)
            return Learner().enroll(friend)

    enroll(Slow(), folder, friends)


def test_forty_are_learnt_by_two_at_a_time_and_a_kill_costs_one_friend(tmp_path: Path) -> None:
    everybody = [friend(f"<{a}{b}>") for a in "bdglmnpt" for b in "aeiou"]
    told, forked = tmp_path / "told", multiprocessing.get_context("fork")
    given = (tmp_path / "states", told, everybody, 0.004)
    pair = [forked.Process(target=learn_in_a_process, args=given) for _ in range(2)]
    for process in pair:
        process.start()
    while len(list((tmp_path / "states").glob("*.safetensors"))) < 10:
        time.sleep(0.002)
    pair[0].kill()
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [-signal.SIGKILL, 0]
    begun = Counter(line.split()[1] for line in told.read_text().splitlines())
    assert len(begun) == 40
    assert sum(begun.values()) <= 41  # whom the killed one was at, if it was at anybody
    assert len({line.split()[2] for line in told.read_text().splitlines()}) == 2
    whole, after = Learner(limit=40), Learner(limit=0)
    enroll(whole, tmp_path / "whole", everybody)
    enroll(after, tmp_path / "states", everybody)
    for name, enrolled in whole.learnt.items():
        assert torch.equal(after.learnt[name].state["vector"], enrolled.state["vector"])
    assert not list((tmp_path / "states").glob("*.part*"))


def test_what_decides_a_state_is_in_its_key(tmp_path: Path) -> None:
    key = enroll(Learner(), tmp_path)
    others = [friend("<bo>", pictures=3), *FRIENDS[1:]]
    changed = Learner()
    assert enroll(changed, tmp_path, others) != key
    assert changed.enrolled == ["<bo>"]
    other = Learner()
    other.enroll_key = "model b"
    enroll(other, tmp_path)
    assert len(other.enrolled) == 3


def test_a_state_of_another_model_or_friend_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path, learner, bo = tmp_path / "a.safetensors", Learner(), FRIENDS[0]
    write_state(path, learner, bo, learner.enroll(bo))
    with pytest.raises(ValueError, match=r"learnt of <bo>, not of <ti>"):
        read_state(path, learner, FRIENDS[2])
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode  # others may read it, too
    learner.enroll_key = "model b"
    with pytest.raises(ValueError, match=r"by another model or tokenizer, or with other settings"):
        read_state(path, learner, bo)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a.safetensors: what is kept of <bo> is damaged"):
        read_state(path, learner, bo)


def test_what_has_diverged_is_not_kept_and_the_others_are(tmp_path: Path) -> None:
    class Diverging(Learner):
        def enroll(self, friend: Friend) -> Enrolled:
            made = super().enroll(friend)
            made.state["vector"][1] = math.nan if friend.name == "<ti>" else 0.0
            return made

    with pytest.raises(
        ValueError, match=r"learner: what was learnt of <ti> is not finite \(vector"
    ):
        enroll_all("learner", Diverging(), lambda: FRIENDS, tmp_path)
    learner = Learner()
    for one in FRIENDS:
        enroll(learner, tmp_path, [one])
    assert "<ti>" in learner.enrolled
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    path = max(tmp_path.glob("*.safetensors"), key=lambda file: file.stat().st_mtime_ns)
    key = {"key": learner.enroll_key, "name": "<ti>"}
    save_file({"vector": torch.tensor([math.inf])}, path, metadata=key)
    with pytest.raises(ValueError, match=r"safetensors: what is kept of <ti> is not finite"):
        read_state(path, learner, FRIENDS[2])


def test_a_damaged_state_is_set_aside_and_learnt_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    enroll(Learner(), tmp_path)
    broken = sorted(tmp_path.glob("*.safetensors"))[0]
    broken.write_bytes(b"nothing")
    learner = Learner()
    enroll(learner, tmp_path)
    assert len(learner.enrolled) == 1
    aside = broken.with_name(f"{broken.name}.set_aside")
    assert aside.read_bytes() == b"nothing"
    assert f"; it is set aside as {aside.name}, and learnt again" in caplog.text
    assert "remove" not in caplog.text  # there is nothing to do


def test_friends_whom_nobody_can_learn_are_named_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    bo = FRIENDS[0]
    own = replace(bo, others=(bo.shots[0].image,))
    refused = {
        "<ti> has no picture to learn from, and captioner.learner needs 2": [
            bo,
            friend("<ti>", pictures=0),
        ],
        "<ti> has 1 picture to learn from": [friend("<ti>", pictures=1)],
        "<Bo> and <bo> are two spellings of one name; rename one": [friend("<Bo>"), bo],
        "2 friends are called <bo>; rename": [bo, friend("<bo>")],
        "is a picture of <bo>, and among those that do not show <bo>": [own],
        "this data has none; use data=toybox_cast": [],
    }
    enroll(Learner(), tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    for complaint, friends in refused.items():
        with pytest.raises(ValueError, match=complaint):
            enroll(Learner(limit=0), tmp_path, friends)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.safetensors")} == kept
    assert len(kept) == 3
    check_friends("tells", 0, [])  # who learns nothing needs nobody
