"""Benches of the smallest size: real processes, real steps."""

import csv
import logging
import os
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from repic.assembly import check_values, dataset_maker, make
from repic.bench import __main__ as main
from repic.bench import contenders, measure
from repic.bench.figures import Step, median_ratio
from repic.bench.paper import make_network, paper_table
from repic.models.costs import ModelCosts
from repic.models.engine.plain import PlainEngine
from repic.models.families import family_of
from repic.phases.grpo_phase import GrpoPhase
from tests import forked
from tests.counting import PAPER
from tests.tiny import build_llava

CONF = Path(__file__).parents[2] / "repic/conf"
BENCHES = sorted(path.stem for path in (CONF / "bench").glob("*.yaml"))
SMALL = [
    "pairs=2",
    "prompts=2",
    "group_size=2",
    "caption_tokens=3",
    "data.image_px=56",
    "scratch.text.hidden_size=32",
    "scratch.text.mrope_section=[1,1,2]",
    "scratch.vision.hidden_size=16",
]


class Dying:
    """An engine that takes its process with it on its second step."""

    def __init__(self) -> None:
        self.engine, self.steps = PlainEngine(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        self.steps += 1
        if self.steps > 1:
            os.write(2, b"out of breath\n")
            os._exit(3)
        return self.engine.sample(*args, **kwargs)


def compose_bench(*overrides: str) -> DictConfig:
    with initialize_config_module("repic.conf", version_base="1.3"):
        return compose("bench", overrides=list(overrides))


def start(folder: Path, *overrides: str, small: list[str] = SMALL) -> list[Step]:
    """Do a small bench and return its steps."""
    with initialize_config_module("repic.conf", version_base="1.3"):
        given = [*small, f"outputs={folder}", *overrides]
        cfg = compose("bench", overrides=given)
        return main.bench(cfg, folder / "bench", overrides=given)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "bench" / "steps.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def counted_tokens(log: str) -> float:
    """How many tokens the peer says it has seen."""
    return float(re.findall(r"'num_tokens': '([\d.e+]+)'", log)[-1])


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_composes_and_instantiates(name: str) -> None:
    cfg = compose_bench(f"bench={name}")
    assert cfg.name == name
    for _, setting in main.sweep(cfg):
        phase = make(setting.phase.grpo, rubric=None)
        assert isinstance(phase, GrpoPhase)
        make_examples = dataset_maker(setting.data)
        examples = make_examples(split="train", counts=setting.concepts.counts, size=1, seed=0)
        assert examples[0].num_concepts == setting.references
    command, number = (CONF / "bench" / f"{name}.yaml").read_text().splitlines()[1:3]
    assert command == f"# python -m repic.bench bench={name}"
    assert number.startswith("# ")


def test_every_key_is_read() -> None:
    """The bench's own keys are named in its code, or lead to a constructor's argument."""
    code = "".join(path.read_text() for path in (CONF.parent / "bench").glob("*.py"))
    cfg = compose_bench()
    read = set(re.findall(r"cfg\.([a-z_]+)", code))
    read |= set(re.findall(r"\$\{([a-z_]+)", (CONF / "bench.yaml").read_text()))
    read |= {"advantage", "loss", "kl"}  # see conf/phase/grpo.yaml
    assert set(cfg) - read == {"outputs"} - read


def test_sweeps_change_what_they_say() -> None:
    values = [(v, c.phase.grpo.group_size) for v, c in main.sweep(compose_bench("bench=groups"))]
    assert values == [("2", 2), ("4", 4), ("8", 8), ("16", 16)]
    counts = [list(c.concepts.counts) for _, c in main.sweep(compose_bench("bench=references"))]
    assert counts == [[1], [2], [3], [4], [5]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["contenders=[plain,plian]"], "no .plian., only packed, plain"),
        (["contenders=[]"], "one or more"),
        (["contenders=[plain,plain]"], "each once"),
    ],
)
def test_wrong_input_is_refused(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(tmp_path, *overrides)


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ("{key:prompts,values:[2,-1]}", "sweep.values: with -1, prompts: -1 is not a whole number"),
        ("{key:scratch.vision.depth,values:[0.5]}", "with 0.5, scratch.vision.depth: 0.5 is not"),
        ("{key:promts,values:[1]}", "sweep.key: 'promts' is no value's key; did you mean prompts?"),
        ("{key:scratch,values:[1]}", "sweep.key: 'scratch' is no value's key"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_it_begins(sweep: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        main.check_sweep(compose_bench(f"sweep={sweep}"), [])


def test_every_bench_passes_and_what_it_reads_is_checked() -> None:
    for name in BENCHES:
        cfg = compose_bench(f"bench={name}")
        check_values(cfg, [], read=main.READ)
        main.check_sweep(cfg, [])
    for override, told in {
        "trainer.threads=abc": "trainer.threads: 'abc' is not a whole number from 1 to 1024",
        "pairs=0": "pairs: 0 is not a whole number of 1 or more",
        "+paper.x=1": "paper.x: there is no such key",
        "paper.settings=[{name:a}]": "paper.settings[0].model: is missing",
    }.items():
        with pytest.raises(ValueError, match=re.escape(told)):
            check_values(compose_bench("bench=paper", override), [override], read=main.READ)


def test_without_the_peer_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(main, "find_spec", lambda package: None)
    with initialize_config_module("repic.conf", version_base="1.3"):
        names = main.contenders(compose("bench", overrides=["contenders=[plain,trl]"]))
    assert names == ["plain"]
    assert "trl, which is not installed" in caplog.text


@pytest.mark.slow
def test_contenders_take_turns_and_one_that_dies_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = OmegaConf.to_container(OmegaConf.load(CONF / "engine" / "plain.yaml"))
    engines = {"plain": plain, "packed": {"_target_": f"{__name__}.Dying"}}
    monkeypatch.setattr(measure, "engine_settings", engines.get)
    with caplog.at_level(logging.INFO):
        steps = start(tmp_path, "contenders=[packed,plain]")
    turns = [(step.contender, step.round) for step in steps]
    assert turns == [("packed", 0), ("plain", 0), ("plain", 1), ("plain", 2)]
    assert "packed ended with exit status 3" in caplog.text
    assert "out of breath" in caplog.text


@pytest.mark.slow
def test_a_sweep_of_two_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The other tests start processes anew.
    forking = SimpleNamespace(**{**vars(subprocess), "Popen": forked.Talking})
    monkeypatch.setattr(contenders, "subprocess", forking)
    overrides = ["contenders=[plain,packed]", "sweep={key:group_size,values:[2,3]}", "kl=default"]
    steps = start(tmp_path, *overrides)
    turns = [(step.value, step.contender, step.round) for step in steps]
    names = ("plain", "packed")
    assert turns == [(v, name, n) for v in ("2", "3") for n in range(3) for name in names]
    assert [row["contender"] for row in rows_of(tmp_path)] == [step.contender for step in steps]
    for step in steps:
        if step.round:
            assert step.rollout_cpu_s + step.update_cpu_s <= step.cpu_s + 1e-9
            assert step.rollout_wall_s + step.update_wall_s == pytest.approx(step.wall_s)
        assert step.prompt_tokens == steps[0].prompt_tokens
        assert step.peak_mib > 50
    assert 0.01 < median_ratio(steps, "packed", "plain", "cpu_s") < 100
    assert (tmp_path / "bench" / "cost.svg").exists()
    assert (tmp_path / "bench" / "update.svg").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="needs trl: pip install 'repic[peer]'")
@pytest.mark.parametrize("overrides", [[], ["kl=default", "model.lora={r:4,alpha:8,dropout:0.0}"]])
def test_the_peer_takes_part(tmp_path: Path, overrides: list[str]) -> None:
    steps = start(tmp_path, "contenders=[plain,trl]", "trl_micro=2", *overrides)
    assert [step.contender for step in steps] == ["plain", "trl"] * 3
    log = (tmp_path / "bench" / "trl.log").read_text()
    tokens = {step.prompt_tokens for step in steps}
    assert len(tokens) == 1
    # 3 steps of 4 rows, and every caption full.
    assert counted_tokens(log) == pytest.approx(12 * (tokens.pop() + 3), rel=1e-3)
    assert "'completions/min_length': '3'" in log


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="needs trl: pip install 'repic[peer]'")
def test_the_peer_sees_the_same_prompts_of_another_architecture(tmp_path: Path) -> None:
    given = ["scratch=null", f"model.path={build_llava(tmp_path / 'llava')}"]
    steps = start(tmp_path, "contenders=[plain,trl]", *given, small=SMALL[:4])
    assert [step.contender for step in steps] == ["plain", "trl"] * 3
    log = (tmp_path / "bench" / "trl.log").read_text()
    assert counted_tokens(log) == pytest.approx(12 * (steps[0].prompt_tokens + 3), rel=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("trl") is None, reason="needs trl: pip install 'repic[peer]'")
def test_the_peer_learns_in_the_toybox(tmp_path: Path) -> None:
    steps = start(tmp_path, "contenders=[plain,trl]", "bench=toybox", small=SMALL[:4])
    assert [step.contender for step in steps] == ["plain", "trl"] * 3


@pytest.mark.slow
def test_the_real_models_on_paper() -> None:
    sizes = {"qwen2_5_vl_3b": 3_754_622_976, "qwen2_5_vl_7b": 8_292_166_656}
    sizes["llava_1_5_7b"] = 7_063_427_072
    for name, size in sizes.items():
        network = make_network(PAPER["models"][name], lora_rank=8)
        assert ModelCosts(network, family_of(network.config)).parameters == size
    row = paper_table(PAPER["models"], PAPER["settings"][:1])[2]
    expected = {"k tokens": 18.2, "vision": 9.19, "prefill": 27.2, "decode": 60.9}
    expected |= {"reference": 86.1, "update": 180, "recomputed": 83.6, "weights": 16.0}
    expected |= {"KV cache": 0.325, "activations": 1.6, "unchecked": 28.8, "peak GiB": 20.6}
    assert {key: row[key] for key in expected} == pytest.approx(expected, rel=0.01)
