"""Every configuration composes, makes what it names, and holds no key that nothing reads."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from repic import assembly, run, settings
from repic.phases.pipeline import RunParts
from repic.toybox.album import write_album
from tests import photos
from tests.integration.small import FEW, compose_run, start
from tests.unit.tables.saved import predictions, save_run

CONF = Path(__file__).parents[2] / "repic/conf"
ON_PHOTOS = {"repic_7b": [], "systems_photos": ["data.friends.pictures=1"]}
TOYS = {"friends": 5, "per_friend": 2, "photos": 5, "strangers": (0, 0), "scale": 1.0, "seed": 0}
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
GROUPS = {
    folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
    for folder in sorted(CONF.iterdir())
    if folder.name not in ("bench", "experiment", "hydra", "phase", "study")
    and any(folder.glob("*.yaml"))
}
STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))


def assemble(cfg: DictConfig, tmp_path: Path) -> RunParts:
    resolved = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(resolved, dict)
    return assembly.assemble(cfg, tmp_path, resolved)


def test_another_project_s_conf_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Hydra's own templates make a package of that name; other wheels bring one."""
    (tmp_path / "conf/judge").mkdir(parents=True)
    for name in ("__init__.py", "judge/claims.jinja"):
        (tmp_path / "conf" / name).touch()
    (tmp_path / "conf/config.yaml").write_text("lr: 0.1\n")
    code = (
        "import conf, repic.run, repic.judges.prompts as prompts\n"
        "prompts.Prompts(**{name: f'{name}.jinja' for name in prompts.VARIABLES})\n"
        "repic.run.main()"
    )
    command = [sys.executable, "-c", code, "--cfg", "job", "+experiment=quickstart"]
    environment = {**os.environ, "PYTHONPATH": str(CONF.parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "name: quickstart" in done.stdout
    assert "lr: 0.1\n" not in done.stdout


@cache
def composed(*overrides: str) -> tuple[DictConfig, dict[str, Any]]:
    """Compose a run that several tests look at, and none writes to."""
    return compose_run(*overrides)


def test_systems_have_the_numbers_of_their_released_code() -> None:
    """MyVLM's for LLaVA, Yo'LLaVA's, MC-LLaVA's and RAP's, as far as we know them."""
    cfg, _ = composed("+experiment=systems_llava_7b")
    published = {
        "myvlm": {
            "head": {
                "steps": 500, "batch_size": 16, "lr": 1e-3, "last_lr": 5e-6, "weight_decay": 0.01,
                "grad_clip": 0.1, "threshold": 0.5, "augmentation": {"flip": 0.5, "rotation": 30},
            },
            "vector": {
                "steps": 100, "batch_size": 4, "lr": 1.0, "weight_decay": 1e-4, "grad_clip": 0.05,
                "coef": 0.0075, "watched": "own_row",
                "augmentation": {"flip": 0.5, "rotation": 45, "brightness": 0.6},
            },
            "proposer": None, "asks": "Please caption this image of {names}.",
        },
        "yollava": {
            "num_tokens": 16, "epochs": 15, "batch_size": 1, "lr": 1e-3, "weight_decay": 1e-2,
            "choose_after": 4, "asks": "{name} is {tokens}.",
            "lessons": {
                "positives": 67, "lookalikes": 115, "others": 99, "texts": 40, "captions": 0,
                "augmentation": {"flip": 0.5, "rotation": 0},
            },
        },
        "mcllava": {
            "num_tokens": 16, "epochs": 15, "batch_size": 1, "lr": 1e-3, "weight_decay": 1e-6,
            "start": "kmeans",
        },
        "rap": {"retriever": {"top_k": [2], "per_crop": 2, "min_similarity": None}},
    }  # fmt: skip
    assert OmegaConf.merge(cfg.captioner, published) == cfg.captioner
    assert 2 * cfg.data.friends.negatives == 150
    assert cfg.data.friends.pictures == 4


@pytest.mark.parametrize("name", sorted({*EXPERIMENTS} - {*settings.WITHOUT_MODEL}))
def test_every_experiment_composes_and_instantiates(name: str, model: Path, tmp_path: Path) -> None:
    real = []
    if name in ON_PHOTOS:
        real = [*photos.overrides(tmp_path / "photos"), *ON_PHOTOS[name]]
    if name == "own_photos":
        write_album(tmp_path / "toys", **TOYS)
        folders = {"root": "album", "photos": "photos", "train_photos": "photos"}
        real = [f"data.{key}={tmp_path}/toys/{folder}" for key, folder in folders.items()]
    cfg, choices = composed(f"+experiment={name}", *real)
    assert choices["experiment"] == name
    assert cfg.name == name
    cfg = cfg.copy()
    cfg.model.path, cfg.outputs = str(model), str(tmp_path)
    parts = assemble(cfg, tmp_path)
    for phase in parts.phases.values():
        phase.check(parts.context)
    assert parts.evaluation.scenes(parts.context, 1)[0].num_concepts == 1
    if name == "own_photos":  # all of them are learnt from, however many friends they show
        for counts in (parts.phases["sft"].counts, cfg.concepts.counts):
            learnt = parts.context.dataset(split="train", counts=counts, size=60, seed=0)
            assert {len(example.present) for example in learnt} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_lab_book_entry(name: str) -> None:
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert lines[0] == "# @package _global_"
    assert f"+experiment={name}" in lines[1]
    assert lines[2].startswith("# ")  # what it should give, and how long it takes


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_experiment_has_a_key_that_the_base_lacks(name: str) -> None:
    cfg, choices = composed(f"+experiment={name}")
    groups = [
        f"{group}={settings.as_override(choice)}"
        for group, choice in choices.items()
        if group != "experiment"
    ]
    known, _ = composed(*groups)
    settings.refuse_unknown_keys(
        name, OmegaConf.to_container(cfg), OmegaConf.to_container(known), []
    )


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_says_what_it_asks_and_its_jobs_compose(name: str) -> None:
    text = (CONF / "study" / f"{name}.yaml").read_text()
    assert text.splitlines()[0] == "# @package _global_"
    assert f"+study={name}" in text.splitlines()[1]
    assert text.splitlines()[2].startswith("# ")  # the question, and how long it takes
    study = yaml.safe_load(text)
    if "hydra" not in study:  # another study's runs
        study = yaml.safe_load((CONF / "study" / f"{study['defaults'][0]}.yaml").read_text())
    sweeper = study["hydra"]["sweeper"]["params"]
    overrides = OverridesParser.create().parse_overrides([f"{k}={v}" for k, v in sweeper.items()])
    tried = [
        [f"{o.input_line.partition('=')[0]}={v}" for v in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line]
        for o in overrides
    ]
    assert any(len(values) > 1 for values in tried)
    for jobs in zip_longest(*tried):  # every value of every key, once
        job = [one or values[0] for one, values in zip(jobs, tried, strict=True)]
        cfg, _ = composed(*job)
        assert "hydra" not in cfg


def test_a_study_is_a_multirun_whose_runs_others_share(
    main: Callable[..., tuple[Any, str, str]], tmp_path: Path
) -> None:
    """Nothing is done twice, and which study has asked for a run is not on its record."""
    small = [
        "debug=fast",
        "optimize=test/1/accuracy",
        f"outputs={tmp_path}",
        "method=name_everybody",
        "metrics.counts=[1]",
        "phase.evaluate.per_count=4",
    ]
    small.append(FEW)
    code, said, complaint = main("+study=table_multi", "seed=0", *small)
    assert code == 0, complaint
    assert (tmp_path / "studies/table_multi/table.md").is_file()
    runs = sorted(tmp_path.glob("multi_concept_5/*/seed_0/summary.json"))
    assert len(runs) == 2
    assert said.count("finished: ") == 2
    assert "already done" not in said  # what the command line says is not tried as well
    assert not any("study=" in path.read_text() for path in runs)
    assert not any('"study"' in path.read_text() for path in runs)
    code, said, complaint = main("+study=table_single", "seed=0", *small)
    assert code == 0, complaint
    assert said.count("already done") == 2
    assert sorted(tmp_path.glob("multi_concept_5/*/seed_0/summary.json")) == runs
    # The default in words comes to the same, and leaves no folder of its own.
    folders = sorted((tmp_path / "multi_concept_5").iterdir())
    code, said, complaint = main("+study=table_single", "seed=0", "kl=default", *small)
    assert code == 0, complaint
    assert said.count("comes to the same") == 2
    assert sorted((tmp_path / "multi_concept_5").iterdir()) == folders


@pytest.mark.parametrize("nth", range(max(map(len, GROUPS.values()))))
def test_every_option_composes(nth: int) -> None:
    """Each run has the next option of every group that has so many."""
    options = {group: names[nth] for group, names in GROUPS.items() if nth < len(names)}
    _, choices = compose_run(*(f"{group}={option}" for group, option in options.items()))
    assert {group: choices[group] for group in options} == options


def test_the_options_that_people_were_promised_are_there() -> None:
    promised = {
        "reward": "recognition quality combined combined_questions none balcaprl balcaprl_judge"
        " covip listener",
        "length": "none mask linear overlong minimum",
        "kl": "none low default high adaptive straight_through",
        "loss": "grpo dr_grpo dapo gspo cispo reinforce",
        "advantage": "grpo dr_grpo rloo reinforce_pp reinforce_pp_baseline gdpo c_gdpo",
        "concepts": "one two three four five mixed repic",
        "data": "toybox toybox_repic toybox_cast toybox_cast_questions dreambooth myvlm yollava"
        " repic_2 repic_4 montages repic_train noise",
        "detector": "ground_truth text open_vocabulary",
        "guards": "default none",
        "retrieval": "skip toybox efficientnet yolo_world_clip open_vocabulary_clip",
        "captioner": "name_everybody file no_references as_text montage myvlm yollava mcllava"
        " rap systems",
        "logger": "csv tensorboard wandb",
        "judge": "none openai local",
        "trainer": "cpu gpu ddp",
        "metrics": "default judged full",
        "method": "zero_shot sft rl dpo repic name_everybody pretrain skills rescore check_data"
        " compare",
        "debug": "fast",
        "experiment": "multi_concept_1 multi_concept_2 multi_concept_3 multi_concept_4"
        " multi_concept_5 quickstart pretrain_tiny skills rescore check_data compare"
        " balcaprl_toybox balcaprl_qwen_3b balcaprl_llava_7b repic_toybox repic_7b repic_seed"
        " systems systems_llava_7b systems_photos rap_toybox own_photos",
    }
    for group, options in promised.items():
        there = {path.stem for path in (CONF / group).glob("*.yaml")}
        assert set(options.split()) <= there, group


@pytest.mark.parametrize(
    ("key", "returned"),
    [
        ("null", None),
        ("test/1/accuracy", 200 / 3),
        ("sft/all/accuracy", 200 / 3),
        ("sft/1/acuracy", r"has no number sft/1/acuracy; did you mean sft/1/accuracy\?"),
    ],
)
def test_a_job_returns_what_a_sweeper_optimizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, returned: float | str | None
) -> None:
    saved = save_run(tmp_path / "run", predictions("sft", [True, False, True]))
    monkeypatch.setattr(run, "run", lambda *_, **__: saved.folder)
    with initialize_config_module("repic.conf", version_base="1.3"):
        overrides = [
            f"optimize={key}",
            f"hydra.runtime.output_dir={tmp_path}",
            "hydra.mode=MULTIRUN",
        ]
        cfg = compose("config", overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    if isinstance(returned, str):
        with pytest.raises(ValueError, match=returned):
            run.job(cfg)
    else:
        assert run.job(cfg) == (str(saved.folder) if returned is None else pytest.approx(returned))
    assert cfg.folder == str(saved.folder)


def test_what_is_optimized_is_checked_before_anything_is_trained(
    model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^optimize: sft/1/acuracy: .*; did you mean accuracy\?"):
        start(model, tmp_path / "run", "optimize=sft/1/acuracy")
    assert not list(tmp_path.rglob("metrics.jsonl"))
    cfg, _ = compose_run("debug=fast", "metrics.counts=[1,2]", FEW, f"model.path={model}")
    parts = assemble(cfg, tmp_path)
    for key, told in {
        "sft/3/accuracy": "'3' is not one of 1, 2, all",
        "stf/1/accuracy": r"'stf' is not one of test, .*; did you mean sft\?",
        "val/1/accuracy": "'val' is not one of .*; phase.<name>.val_every asks for validations",
    }.items():
        with pytest.raises(ValueError, match=f"^optimize: {key}: {told}"):
            run.refuse_unknown_number(key, parts)
    # What is known, and what only the end can tell.
    for key in (None, "test/all/cider", "grpo/1/accuracy", "grpo/reward/letters", "time/step_s"):
        run.refuse_unknown_number(key, parts)


def test_debug_wins_over_experiments_and_not_over_the_command_line() -> None:
    cfg, _ = compose_run("+experiment=quickstart", "debug=fast", "phase.sft.iterations=7")
    assert cfg.phase.grpo.iterations == 2
    assert cfg.phase.sft.iterations == 7


@pytest.mark.parametrize("option", ["none", "low", "default", "high"])
def test_the_kl_choice_reaches_the_phase(option: str) -> None:
    cfg, _ = compose_run(f"kl={option}")
    assert cfg.phase.grpo.kl_coef == cfg.kl.coef


@pytest.mark.parametrize("length", ["none", "mask", "linear", "overlong", "minimum"])
def test_without_a_reward_length_does_nothing(length: str) -> None:
    assert compose_run("reward=none", f"length={length}")[0].reward.rubric is None


def test_an_overlong_caption_is_one_near_the_most_that_are_sampled() -> None:
    cfg, _ = compose_run("length=overlong", "length.weight=0.5", "debug=fast")
    assert cfg.reward.rubric.weights.overlong == 0.5
    assert cfg.reward.rubric.rewards.overlong.max_tokens == 16


def test_scenes_of_all_counts_are_different_ones(tmp_path: Path) -> None:
    cfg, _ = compose_run("method=name_everybody", "debug=fast", f"outputs={tmp_path}")
    parts = assemble(cfg, tmp_path)
    scenes = {n: parts.evaluation.scenes(parts.context, n) for n in range(1, 6)}
    assert [e.id for e in scenes[3]] == [f"toybox/0/test/caption/3/{i}" for i in range(2)]
    every = [example for examples in scenes.values() for example in examples]
    for keys in ({e.id for e in every}, {e.query and e.query.key for e in every}):
        assert len(keys) == 10
    pools = [set(example.pool) for example in every]
    assert len(set(map(frozenset, pools))) == 10


def branches(node: Any, prefix: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every mapping of a configuration that is no constructor's arguments, with its place."""
    if isinstance(node, DictConfig) and "_target_" not in node:
        yield prefix, node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from branches(node[key], f"{prefix}.{key}".lstrip("."))


def test_every_leaf_is_read() -> None:
    """A key is a constructor's argument (which refuses strangers), or the code here names it.

    Interpolations count as reading; what they lead to is somebody's argument in turn.
    """
    code = "".join(
        (CONF.parent / name).read_text() for name in ("run.py", "assembly.py", "sweep.py")
    )
    code += "\n".join(path.read_text() for path in CONF.rglob("*.yaml"))
    read = set(re.findall(r"(?:cfg|config|\$\{)\.?([a-z_]+(?:\.[a-z_]+)*)", code))
    splits = {"data.train", "data.val", "data.test", "data.prompt"}
    lists = {f"{g}.{p.stem}" for g in ("phase", "captioner") for p in (CONF / g).glob("*.yaml")}
    # A judge is one constructor's arguments, for the rewards and metrics that name it.
    known = read | splits | lists | {"judge"}
    cfg, _ = compose_run("logger=wandb")
    assert unread_keys(cfg, known) == []
    # The test can fail.
    for stray in ("trainer.therads", "method.evaluate", "kl.beta", "iterations", "data.sizes"):
        cfg, _ = compose_run(f"+{stray}=1")
        assert unread_keys(cfg, known) == [stray]


def unread_keys(cfg: DictConfig, known: set[str]) -> list[str]:
    unread = []
    for place, node in branches(cfg):
        for key in node:
            full = f"{place}.{key}".lstrip(".")
            value = None if OmegaConf.is_missing(node, key) else node[key]
            is_branch = isinstance(value, DictConfig) and "_target_" not in value
            starts = {full.rsplit(".", n)[0] for n in range(full.count(".") + 1)}
            # A group counts as read where its key is, or where the whole of it is passed on.
            if not is_branch and not known & {
                s for s in starts if "." in s or s in (full, "report")
            }:
                unread.append(full)
    return unread
