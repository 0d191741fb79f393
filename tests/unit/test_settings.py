import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from repic import settings
from repic.errors import explain


def test_a_folder_s_name_follows_from_the_command_whatever_its_order() -> None:
    one = settings.slug(["reward=quality", "+experiment=toys", "seed=3", "kl=low"], "toys")
    two = settings.slug(["kl=low", "reward=quality", "+experiment=toys", "fresh=true"], "toys")
    for where in ("trainer=ddp", "trainer.threads=4", "logger=wandb"):
        assert settings.slug(["kl=low", "reward=quality", where], "toys") == two
    assert one == two == "kl-low+reward-quality"


def test_commands_that_differ_have_different_folders() -> None:
    commands = [
        ["metrics.counts=[1,2]"],
        ["metrics.counts=[12]"],
        ["metrics.counts=[1_2]"],
        ["+experiment=other"],
        ["model.path=a/b"],
        ["model.path=a-b"],
        [f"name_of_something={'x' * 200}"],
        [f"name_of_something={'x' * 201}"],
    ]
    names = [settings.slug(command, "toys") for command in commands]
    assert len(set(names)) == len(names)
    assert all(len(name) < 120 and "/" not in name for name in names)


def test_fresh_makes_the_next_number_and_the_newest_goes_on(tmp_path: Path) -> None:
    first = tmp_path / "seed_1"
    assert settings.run_folder(first, fresh=False) == first
    assert settings.run_folder(first, fresh=True) == first  # nothing there to avoid
    first.mkdir()
    (first / "config.yaml").touch()
    assert settings.run_folder(first, fresh=True).name == "seed_1-2"
    (tmp_path / "seed_1-10").mkdir()
    (tmp_path / "seed_12-99").mkdir()  # of another seed
    assert settings.run_folder(first, fresh=False).name == "seed_1-10"
    assert settings.run_folder(first, fresh=True).name == "seed_1-11"


KNOWN = {
    "phase": {"sft": {"iterations": 3, "counts": [1, 2], "lora": None}},
    "concepts": {"counts": {3: 1.0}},
}


@pytest.mark.parametrize(
    "tree",
    [
        {"phase": {"sft": {"iterations": 9}}},
        {"phase": {"sft": {"counts": {1: 0.5, 2: 0.5}}}},  # a list becomes weights
        {"concepts": {"counts": {1: 1.0, 3: 1.0}}},
        {"phase": {"sft": {"lora": {"r": 4}}}},
        {"phase": {"sft": None}},
    ],
)
def test_known_keys_pass(tree: dict) -> None:
    settings.refuse_unknown_keys("experiment/a.yaml", tree, KNOWN, [])


@pytest.mark.parametrize(
    ("tree", "key", "hint"),
    [
        (
            {"phase": {"sft": {"iteration": 9}}},
            "phase.sft.iteration",
            "; did you mean phase.sft.iterations?",
        ),
        ({"phases": {"sft": {"iterations": 9}}}, "phases.sft.iterations", "; did you mean phase"),
        ({"sft": 1}, "sft", ""),
    ],
)
def test_a_stray_key_is_named_with_its_file_and_the_likely_one(
    tree: dict, key: str, hint: str
) -> None:
    told = f"experiment/a.yaml: {key} is not a key of the configuration{hint}"
    with pytest.raises(ValueError, match=re.escape(told)):
        settings.refuse_unknown_keys("experiment/a.yaml", tree, KNOWN, [])


def test_a_key_that_the_command_line_adds_on_purpose_passes() -> None:
    tree = {"note": {"why": 1}}
    settings.refuse_unknown_keys("a", tree, KNOWN, ["note"])
    with pytest.raises(ValueError, match=r"note\.why"):
        settings.refuse_unknown_keys("a", tree, KNOWN, ["not"])


def test_going_on_with_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    before = {"seed": 0, "phase": {"lr": 1e-3, "counts": {1: 2.0}}, "fresh": False, "logger": {}}
    settings.refuse_other_settings(tmp_path, before)  # no run there yet
    path.write_text(yaml.safe_dump(before))
    settings.refuse_other_settings(tmp_path, {**before, "fresh": True, "logger": {"name": "csv"}})
    settings.refuse_other_settings(tmp_path, {**before, "trainer": {"threads": 4}})
    with pytest.raises(ValueError, match=r"phase\.lr=0\.001, not 0\.002.*fresh=true"):
        settings.refuse_other_settings(
            tmp_path, {**before, "phase": {"lr": 2e-3, "counts": {1: 2}}}
        )


def save_finished(folder: Path, now: dict[str, Any], choices: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(now))
    (folder / "summary.json").write_text(json.dumps({"choices": choices}))
    (folder / "report.html").write_text("")


def test_a_run_that_another_command_made_with_the_same_settings_is_found(tmp_path: Path) -> None:
    now = {"name": "toys", "seed": 1, "kl": {"coef": 0.04}, "logger": {"name": "csv"}}
    choices = {"kl": "default", "debug": "none"}
    asked, made = tmp_path / "kl-default" / "seed_1", tmp_path / "default" / "seed_1"
    save_finished(made, now, choices)

    def found(**changes: Any) -> Path | None:
        return settings.same_run(asked, {**now, **changes}, choices)

    assert found() == made
    assert found(logger={"name": "wandb"}) == made  # how it is watched does not matter
    assert found(kl={"coef": 0.1}) is None
    assert found(seed=2) is None
    assert found(name="cats") is None
    assert settings.same_run(asked, now, {**choices, "kl": "low"}) is None
    assert settings.same_run(asked.with_name("seed_2"), now, choices) is None


def test_the_newest_of_equal_runs_is_found_and_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    now, choices = {"name": "toys", "seed": 1}, {"kl": "default"}
    folders = [tmp_path / name / "seed_1" for name in ("a", "b")] + [tmp_path / "b" / "seed_1-2"]
    for age, folder in enumerate(folders):
        save_finished(folder, now, choices)
        os.utime(folder / "report.html", (age, age))
    asked = tmp_path / "c" / "seed_1"
    assert settings.same_run(asked, now, choices) == folders[2]
    (folders[2] / "config.yaml").write_text("a: [")
    (folders[1] / "summary.json").write_text("[]")
    assert settings.same_run(asked, now, choices) == folders[0]
    (folders[0] / "report.html").unlink()  # not finished
    assert settings.same_run(asked, now, choices) is None


def test_errors_become_one_line_with_the_mend() -> None:
    denied = explain(PermissionError(errno.EACCES, "Permission denied", "/data/runs"))
    assert denied.startswith("/data/runs: Permission denied; ")
    assert "outputs=" in denied
    assert "make room" in explain(OSError(errno.ENOSPC, "No space left on device", "/d"))
    outer = RuntimeError("Error in call to target 'x':\nValueError('bad')\nfull_key: phase.sft")
    outer.__cause__ = ValueError("bad\nthing")
    assert explain(outer) == "phase.sft: bad thing"


def test_guards_make_no_other_run(tmp_path: Path) -> None:
    """So that one which a guard has stopped can go on with another limit, in the same folder."""
    command = ["kl=low", "phase.grpo.guards.max_kl.limit=3", "guards=none"]
    assert settings.slug(command, "toys") == settings.slug(["kl=low"], "toys") == "kl-low"
    path = tmp_path / "config.yaml"
    path.write_text("phase: {grpo: {guards: {max_kl: {limit: 2}}, prompts: 8}}\nseed: 0\n")

    def now(limit: float | None, prompts: int) -> dict[str, Any]:
        grpo = {"guards": {"max_kl": {"limit": limit}}, "prompts": prompts}
        return {"phase": {"grpo": grpo}, "seed": 0}

    settings.refuse_other_settings(tmp_path, now(None, 8))
    with pytest.raises(ValueError, match=r"phase\.grpo\.prompts=8, not 4"):
        settings.refuse_other_settings(tmp_path, now(2, 4))


def test_our_own_sentence_is_told_and_not_what_it_came_from() -> None:
    ours = ValueError("reward mine: raised KeyError at caption 3")
    ours.__cause__ = KeyError("x")
    outer = RuntimeError("Error in call to target 'x'\nfull_key: reward.rubric")
    outer.__cause__ = ours
    expected = "reward mine: raised KeyError at caption 3"
    assert explain(ours) == expected
    assert explain(outer) == f"reward.rubric: {expected}"


@pytest.mark.parametrize("override", ["+study=kl", "+reward.mine=1", "++seed=3", "+data/base=x"])
def test_what_is_added_to_the_configuration_passes(override: str) -> None:
    settings.refuse_stray_additions([override], ["study", "reward", "seed", "data"])


def test_an_addition_that_nothing_reads_is_refused_with_the_likely_one() -> None:
    """Hydra takes it for a new key, and the run would be another than was meant."""
    known = ["study", "experiment", "seed"]
    with pytest.raises(ValueError, match=r"studdy is neither.*did you mean \+study=kl\?"):
        settings.refuse_stray_additions(["+seed=1", "+studdy=kl"], known)
    with pytest.raises(ValueError, match=r"xyz is neither a key nor a group$"):
        settings.refuse_stray_additions(["+xyz.seed=4"], known)


def test_files_that_change_after_a_run_are_noticed(tmp_path: Path) -> None:
    folder, captions, run = tmp_path / "photos", tmp_path / "captions.json", tmp_path / "run"
    for made in (folder, run, tmp_path / "out" / "cache"):
        made.mkdir(parents=True)
    captions.write_text("[]")
    asked = {"data": {"root": str(tmp_path)}, "outputs": str(tmp_path / "out")}
    asked |= {"file": {"path": str(captions)}, "model": {"path": "package://repic/models/tiny"}}
    assert settings.changed_inputs(run, asked) == []  # it is not finished
    inputs = settings.inputs_of(asked)
    assert inputs.keys() == {"data.root", "file.path"}
    (tmp_path / "out" / "cache" / "new").touch()
    assert settings.inputs_of(asked) == inputs
    (run / settings.INPUTS).write_text(json.dumps({"file.path": inputs["file.path"]}))
    assert settings.changed_inputs(run, asked) == []
    captions.write_text("[1]")
    assert settings.changed_inputs(run, asked) == ["file.path"]


@pytest.mark.parametrize("key", ["data.photos", "data.train_photos", "captions"])
def test_folders_of_photos_and_captions_are_inputs(tmp_path: Path, key: str) -> None:
    (tmp_path / "far" / "Bo").mkdir(parents=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "Bo").symlink_to(tmp_path / "far" / "Bo")
    asked: dict[str, Any] = {"name": "docs", "data": {}}
    (asked["data"] if "." in key else asked)[key.rpartition(".")[2]] = str(folder)
    states = [settings.inputs_of(asked)]
    for new in (folder / "who.csv", folder / "Bo" / "1.jpg"):
        new.touch()
        states.append(settings.inputs_of(asked))
    (folder / ".DS_Store").touch()  # of who has only looked
    assert settings.inputs_of(asked) == states[-1]
    assert [state.keys() for state in states] == [{key}] * 3
    assert len({state[key] for state in states}) == 3


def test_code_of_one_s_own_and_single_files_are_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module, package = tmp_path / "own_wit.py", tmp_path / "own_parts"
    package.mkdir()
    (package / "__init__.py").touch()
    words = tmp_path / "words.jinja"
    for file in (module, words, package / "parts.py"):
        file.write_text("1 / 0")  # nothing is imported
    asked = {
        "reward": {"own": ["own_wit.politeness:0.5", "math.sqrt"]},
        "metrics": {"_target_": "own_parts.parts.Metric", "other": "words"},
        "engine": {"_target_": "repic.models.engine.packed.PackedEngine"},
        "optimizer": {"_target_": "torch.optim.AdamW"},
        "judge": {"verify": str(words), "long": "x" * 5000, "none": "a\0b"},
    }
    before = settings.inputs_of(asked)
    keys = ["reward.own.own_wit.politeness:0.5", "metrics._target_", "judge.verify"]
    assert before.keys() == set(keys)
    for file, key in zip((module, package / "parts.py", words), keys, strict=True):
        file.write_text("other")
        (package / "parts.pyc").write_text(key)  # Python's own
        after = settings.inputs_of(asked)
        assert [k for k in before if after[k] != before[k]] == [key]
        before = after
    one = {"reward": {"own": {"own_wit.politeness": 0.5}}}
    assert settings.inputs_of(one).keys() == {"reward.own.own_wit.politeness"}


def test_results_are_of_the_files_that_there_were(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.touch()
    asked = {"judge": {"words": str(words)}}
    (tmp_path / settings.SUMMARY).touch()
    assert not settings.is_summed_up(tmp_path, asked)
    (tmp_path / settings.INPUTS).write_text(json.dumps(settings.inputs_of(asked)))
    assert settings.is_summed_up(tmp_path, asked)
    words.write_text("more")
    assert not settings.is_summed_up(tmp_path, asked)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1, 1]\nb: [*x, *x]\n", "the alias *x, which no run writes"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
        ("a: !!set {b, c}\n", "could not determine a constructor"),
        ("a: {b: 1, c: 2, b: 3}\n", "the key 'b' stands there twice"),
    ],
)
def test_a_configuration_that_no_run_writes_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.yaml: not YAML .*{re.escape(said)}"):
        settings.config_of(tmp_path)


def test_a_date_stays_a_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("day: 2024-02-01\nnumber: 3\nshare: 0.5\nnone: null\n")
    found = settings.config_of(tmp_path)
    assert found == {"day": "2024-02-01", "number": 3, "share": 0.5, "none": None}


@pytest.mark.parametrize(
    ("usable", "needs", "jobs"),
    [(8, (1, 0, "cpu"), 8), (8, (2, 1, "cpu"), 2), (1, (4, 4, "cpu"), 1), (64, (4, 4, "gpu"), 1)],
)
def test_a_machine_does_as_many_jobs_as_its_cores_are_enough_for(
    monkeypatch: pytest.MonkeyPatch, usable: int, needs: tuple[int, int, str], jobs: int
) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: usable)
    assert settings.jobs_at_once(*needs) == jobs


def test_cores_that_a_process_may_not_use_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert settings.jobs_at_once(1, 0, "cpu") == 1
    finally:
        os.sched_setaffinity(0, before)
