"""Values of the configuration are held to the signatures of those who take them."""

import logging
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from repic import values
from repic.assembly import check_values, refuse_unread_files
from repic.values import Count, Door, Number, Positive, Share, Text, Whole
from tests.campaigns.values import SAMPLES as malformed_samples
from tests.campaigns.values import is_allowed, malformed, plain_leaves, well_formed

NAN = math.nan
WITH_ALL = ("judge=openai", "length=mask", "retrieval=toybox", "method=repic")


@cache
def pickled(*overrides: str) -> bytes:
    with initialize_config_module("repic.conf", version_base="1.3"):
        return pickle.dumps(compose("config", overrides=list(overrides)))


def composed(*overrides: str) -> DictConfig:
    """A configuration of one's own: a copy would take several times as long."""
    return pickle.loads(pickled(*overrides))


def complaint(*changes: tuple[str, Any], added: Sequence[str] = ()) -> str:
    """What is said of a configuration with other values; nothing if it passes."""
    cfg = composed(*WITH_ALL)
    OmegaConf.set_struct(cfg, False)
    for key, value in changes:
        OmegaConf.update(cfg, key, value, merge=False)
    try:
        check_values(cfg, added)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("key", "value", "may_be"),
    [
        ("phase.grpo.grad_clip", -1, "a number above 0"),
        ("phase.grpo.grad_clip", 0, "a number above 0"),
        ("phase.sft.grad_clip", 0.0, "a number above 0"),
        ("phase.sft.grad_clip", 1e39, "a number above 0"),  # infinite in float32
        ("advantage.eps", -1, "a number of 0 or more"),
        ("phase.grpo.schedule.final", -1, "a number from 0 to 1"),
        ("phase.sft.schedule.warmup", 1.5, "a number from 0 to 1"),
        ("kl.coef", -1, "a number from 0 to"),
        ("kl.coef", math.nan, "a number from 0 to"),
        ("kl.coef", math.inf, "a number from 0 to"),
        ("kl.gain", 6, "a number above 0 and below 5"),  # a coefficient would change its sign
        ("reward.rubric.weights.recognition", 1e39, "a number from -1"),
        ("reward.rubric.weights.recognition", math.nan, "a number from -1"),
        ("reward.rubric.weights.recognition", "1.0", "a number from -1"),
        ("reward.rubric.weights.recognition", True, "a number from -1"),
        ("reward.rubric.weights.recognition", None, "a number from -1"),
        ("reward.rubric.weights.recognition", [1.0], "a number from -1"),
        ("reward.rubric.rewards.recognition.tasks", "caption", "a list of one or more"),
        ("data.questions", "abc", "a list of one or more"),
        ("data.rules.lookalike", 1.01, "a number from 0 to 1"),
        ("data.rules.omit", -0.1, "a number from 0 to 1"),
        ("data.rules.absent", [2, 1], "two whole numbers, the smaller one first"),
        ("loss.mask_truncated", "abc", "true or false"),
        ("loss.objective.clip_eps_low", -0.2, "a number of 0 or more"),
        ("loss.aggregation", "mean", "sequence_mean, token_mean or constant"),
        ("phase.grpo.optimizer.lr", -1e-3, "a number above 0 and at most 1"),
        ("phase.grpo.optimizer.lr", "1e-3", "a number above 0 and at most 1"),
        ("phase.grpo.optimizer", 3, "a part"),
        ("phase.grpo.sampling.temperature", 1e-30, "a number, 0, or a number from 0.001"),
        ("phase.grpo.group_size", True, "a whole number from 1 to 1000000"),
        ("phase.sft.iterations", 2.0, "a whole number of 1 or more"),
        ("phase.sft.iterations", None, "a whole number of 1 or more"),
        ("model.lora", {"r": 4, "alpha": 8, "dropout": 1.0}, None),
        ("trainer.threads", 0, "a whole number from 1 to"),
        ("outputs", "", "text that is not empty"),
        ("name", "../../x", "the name of a folder"),
        ("name", "a/b", "the name of a folder"),
        ("name", 3, "the name of a folder"),
        ("seed", -1, "a whole number from 0 to"),
    ],
)
def test_a_value_that_would_spoil_a_run_is_refused_with_its_key(
    key: str, value: Any, may_be: str | None
) -> None:
    said = complaint((key, value))
    if may_be is None:
        key, value, may_be = "model.lora.dropout", 1.0, "a number of 0 or more and below 1"
    assert said.startswith(f"{key}: {values.shown(value)} is not {may_be}"), said
    assert "\n" not in said


OFF = {"limit": None, "patience": 1, "action": "stop"}


@pytest.mark.parametrize(
    ("part", "key", "values"),
    [
        ("phases.guards.Guards", "max_kl.limit", [{**OFF, "limit": v} for v in (NAN, "2", True)]),
        ("phases.guards.Guards", "min_entropy.patience", [{**OFF, "patience": 0}]),
        ("phases.guards.Guards", "max_length.action", [{**OFF, "action": "halt"}]),
        ("phases.guards.Guards", "cool_lr", [0.0, 2.0]),
        ("phases.guards.Guards", "cool_kl", [0.5]),
        ("phases.loggers.wandb_logger", "mode", ["of"]),
        ("phases.evaluate.Evaluation", "demonstrations", ["wrong"]),
        ("phases.rescore.Rescore", "protocol", ["exact"]),
        ("phases.rescore.Rescore", "variant", ["one"]),
        ("phases.check_data.CheckData", "near", [-1, 65]),
        ("phases.grpo_phase.GrpoPhase", "resample_attempts", [-1]),
        ("rl.kl_control.KlControl", "target", [0.0]),
        ("rl.kl_control.KlControl", "gain", [0.0]),
        ("rl.kl_control.KlControl", "refresh_every", [-1]),
        ("rewards.rubric.Rubric", "weights.length", [{"length": NAN}, {"length": math.inf}]),
        ("rewards.rubric.Rubric", "seconds", [0.0]),
        ("rewards.length.LengthExcess", "knee", [-1.0]),
        ("rewards.length.LengthExcess", "slope", [math.inf]),
        ("rewards.length.Overlong", "max_tokens", [0]),
        ("rewards.length.Overlong", "cache_share", [0.0, 1.5]),
        ("rewards.recognition.RecognitionReward", "absent_cost", [-0.1, NAN, math.inf]),
        ("rewards.localization.LocalizationReward", "threshold", [0.0]),
        ("data.personal.PhotoDataset", "num_absent", [-1]),
        ("data.personal.PhotoDataset", "size", [0]),
        ("data.personal.PhotoDataset", "questions", [[]]),
        ("data.personal.PhotoDataset", "missing", ["ignore"]),
        ("data.montages.MontageDataset", "questions", [[]]),
        ("data.montages.MontageDataset", "gap", [-1]),
        ("data.montages.MontageDataset", "size", [0]),
        ("data.noise.NoiseExamples", "counts", [[]]),
        ("data.noise.NoiseExamples", "counts[0]", [[-1]]),
        ("data.noise.NoiseExamples", "image_px", [0]),
        ("detectors.open_vocabulary.OpenVocabularyDetector", "threshold", [0.0, 1.0]),
        ("detectors.open_vocabulary.OpenVocabularyDetector", "cache_size", [0]),
        ("toybox.dataset.CaptionDataset", "split", ["dev"]),
        ("toybox.dataset.CaptionDataset", "counts[0]", [[0]]),
        ("toybox.dataset.CaptionDataset", "counts[1]", [[1, 6]]),
        ("toybox.dataset.CaptionDataset", "counts.2", [{2: "x"}]),
        ("retrieval.foreground.ForegroundRegions", "largest", [0.0]),
        ("retrieval.foreground.ForegroundRegions", "smallest", [0.0]),
        ("retrieval.foreground.ForegroundRegions", "frame", [0.0]),
        ("retrieval.windows.SlidingWindows", "shares", [[]]),
        ("retrieval.windows.SlidingWindows", "shares[1]", [[0.5, 1.5]]),
        ("retrieval.windows.SlidingWindows", "overlap", [1.0]),
        ("retrieval.retriever.Retriever", "top_k", [[]]),
        ("retrieval.retriever.Retriever", "top_k[0]", [[0]]),
        ("retrieval.retriever.Retriever", "per_crop", [0]),
        ("retrieval.retriever.Retriever", "min_similarity", [1.5]),
        ("retrieval.retriever.Retriever", "scenes_per_album", [0]),
        ("retrieval.open_vocabulary.OpenVocabularyRegions", "threshold", [0.0]),
        ("retrieval.open_vocabulary.OpenVocabularyRegions", "most", [0]),
        ("retrieval.yolo_world.YoloWorldRegions", "confidence", [1.0]),
        ("retrieval.embedders.VisionTowerEmbedder", "layer", ["head"]),
        ("retrieval.embedders.VisionTowerEmbedder", "pooling", ["sum"]),
        ("retrieval.embedders.VisionTowerEmbedder", "side", [0]),
        ("models.loading.load_policy", "dtype", ["float8"]),
        ("models.loading.load_policy", "attention", ["fast"]),
        ("models.loading.load_policy", "export", ["lora"]),
        ("models.loading.load_policy", "lora.rank", [{"rank": 4, "alpha": 8, "dropout": 0.0}]),
        ("models.engine.vllm.VllmEngine", "url", ["localhost:8000", "http://[::1", "http://a:0"]),
        ("models.engine.vllm.VllmEngine", "url", ["http://a:8000/v1", "http://a?b=1"]),
        ("models.engine.vllm.VllmEngine", "url", ["http://a:port", "http://me:secret@a:8000"]),
        ("metrics.suite.MetricSuite", "counts", [[]]),
        ("metrics.suite.MetricSuite", "counts[0]", [[6]]),
        ("metrics.suite.MetricSuite", "confidence", [95.0]),
        ("metrics.suite.MetricSuite", "bootstrap_samples", [-1]),
        ("metrics.suite.MetricSuite", "tokenizer", ["spacy"]),
        ("metrics.captions.judged_facts.JudgedFacts", "trials.match", [{"match": 0}]),
        ("metrics.captions.judged_facts.JudgedFacts", "trials.veirfy", [{"veirfy": 1}]),
        ("metrics.captions.caption_qa.CaptionQA", "most", [0]),
        ("metrics.captions.arena.Arena", "baselines", ["reference"]),
        ("judges.client.Judge", "concurrency", [0]),
        ("judges.client.Judge", "attempts_unparsable", [0]),
        ("judges.client.Judge", "give_up_after", [-1]),
        ("judges.client.Judge", "prices.prompt", [{"prompt": -1.0, "completion": 0.0}]),
        ("judges.pictures.PictureEncoder", "max_side", [0]),
        ("judges.pictures.PictureEncoder", "format", ["gif"]),
        ("judges.endpoint.Endpoint", "timeout", [0.0]),
        ("judges.endpoint.Endpoint", "attempts", [0]),
    ],
)
def test_a_part_states_what_it_takes_and_need_not_check_it(
    part: str, key: str, values: Sequence[Any]
) -> None:
    for value in values:
        given = {"_target_": f"repic.{part}", re.split(r"[.\[]", key)[0]: value}
        tree = {"part": given}
        wrong = "there is no such key|.* is not "
        with pytest.raises(ValueError, match=rf"^part\.{re.escape(key)}: ({wrong})"):
            Door(tree, tree).check({})


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("kl.coeff", 1, "kl.coeff: nothing reads it; did you mean kl.coef?"),
        ("reward.mine", 1, "reward.mine: nothing reads it"),
        (
            "phase.grpo.grup_size",
            4,
            "phase.grpo.grup_size: GrpoPhase has no such key; did you mean phase.grpo.group_size?",
        ),
        (
            "phase.grpo.guards.max_kl.limt",
            1.0,
            "phase.grpo.guards.max_kl.limt: there is no such key; did you mean"
            " phase.grpo.guards.max_kl.limit?",
        ),
        (
            "trainer.options.acelerator",
            "cpu",
            "trainer.options.acelerator: there is no such key; did you mean"
            " trainer.options.accelerator?",
        ),
    ],
)
def test_a_key_that_nobody_reads_is_refused_with_the_likely_one(
    key: str, value: Any, told: str
) -> None:
    assert complaint((key, value), added=[f"+{key}={value}"]).startswith(told)


def test_a_value_that_the_chosen_groups_do_not_read_is_refused() -> None:
    """With length=mask a component's name is read, and that of the one with the names is not."""
    cfg, unread = composed(*WITH_ALL), "reward.naming"
    check_values(cfg, ["length=mask", "reward.prose=fluency", "seed=0", "~phase.sft.x"])
    with pytest.raises(ValueError, match=rf"^{unread}: nothing reads it; did you mean reward\."):
        check_values(cfg, [f"{unread}=abc"])
    cfg.phase.grpo.kl_coef = 0.5
    check_values(cfg, ["phase.grpo.kl_coef=0.5"])  # although kl.coef is read no more
    with pytest.raises(ValueError, match=r"^kl\.coef: nothing reads it; did you mean kl\."):
        check_values(cfg, ["phase.grpo.kl_coef=0.5", "kl.coef=0.1"])


def test_a_value_that_one_s_own_file_sets_for_nobody_is_refused() -> None:
    cfg = composed(*WITH_ALL)
    OmegaConf.set_struct(cfg, False)
    cfg.kl.coeff = None  # says nothing
    refuse_unread_files(cfg)
    cfg.kl.coeff = 1
    with pytest.raises(ValueError, match=r"^kl\.coeff: nothing reads it; did you mean kl\.coef\?"):
        refuse_unread_files(cfg)
    cfg.kl.coef = "a"  # a command may give another
    refuse_unread_files(cfg)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([{"until": 1.0, "groups": [{"who": -1}]}], "[0].groups[0].who: -1 is not a number from"),
        ([{"untl": 1.0, "groups": [{"who": 1}]}], "[0].untl: there is no such key; did you mean"),
        ([{"groups": [{"who": 1}]}], "[0].until: is missing; it should be a number above 0"),
        ([{"until": 1.0, "groups": ["who"]}], "[0].groups[0]: 'who' is not a mapping to a number"),
        ({"until": 1.0}, ': {"until": 1.0} is not a list (each a mapping with the keys until'),
    ],
)
def test_lists_of_objects_are_looked_into(stages: Any, told: str) -> None:
    said = complaint(("phase.pretrain.dataset.stages", stages))
    assert said.startswith(f"phase.pretrain.dataset.stages{told}"), said


def test_a_key_that_is_taken_away_and_a_part_that_cannot_be_found_are_told() -> None:
    cfg = composed()
    OmegaConf.set_struct(cfg, False)
    del cfg.phase.sft["grad_clip"]
    with pytest.raises(ValueError, match=r"^phase\.sft\.grad_clip: is missing; it should be a num"):
        check_values(cfg, ["~phase.sft.grad_clip"])
    target = "advantage._target_"
    told = f"{target}: 'repic.rl.advantages.x' leads nowhere"
    assert complaint((target, "repic.rl.advantages.x")).startswith(told)
    assert complaint((target, 3)).startswith(f"{target}: 3 leads nowhere")
    parser = "reward.rubric.rewards.binding.parser.path"
    told = f"{parser}: 'repic.toybox.grammar.pars' leads nowhere"
    assert complaint((parser, "repic.toybox.grammar.pars")).startswith(told)
    assert complaint((parser, "repic.toybox")).startswith(f"{parser}: 'repic.toybox' is a module")
    assert complaint(("trainer", {})).startswith("trainer.threads: is missing")


def test_the_configuration_passes_as_it_is_and_at_the_edges() -> None:
    assert complaint() == ""
    edges = {
        "phase.grpo.grad_clip": 3e38,
        "phase.sft.schedule.final": 1,
        "phase.grpo.schedule.warmup": 0,
        "kl.coef": 0,
        "kl.target": None,
        "advantage.eps": 0,
        "data.rules.omit": 1,
        "data.rules.absent": [0, 0],
        "reward.rubric.weights.recognition": -1,
        "phase.grpo.sampling.temperature": 0,
        "phase.grpo.sampling.stop": ["\n"],
        "phase.grpo.guards.max_kl.limit": None,
        "concepts.counts": {1: 0.5, 2: 0},
        "metrics.counts": [5],
        "metrics.captions": "all",
        "judge.seed": None,
        "seed": 2**32 - 1,
        "model.lora": {"r": 1, "alpha": 0.5, "dropout": 0},
    }
    assert complaint(*edges.items()) == ""


class Inner(TypedDict):
    limit: Number | None
    action: Literal["stop", "cool"]
    more: NotRequired[Sequence[Count]]


MaybeShare = Share | None
HINTS = (
    bool,
    Text,
    Count,
    Whole,
    Share,
    Positive,
    MaybeShare,
    Sequence[Text],
    Annotated[Sequence[Share], MinLen(1)],
    Mapping[str, Share],
    tuple[Share, Share],
    Annotated[float, Gt(0), Lt(1)] | Annotated[int, Ge(5), Le(6)],
    Literal["a", "b"] | Sequence[Text],
    Inner,
    Mapping[str, Any],
    values.ConceptCounts,
)


SAMPLES = (
    *malformed_samples,
    *({"limit": None, "action": "stop"}, {"limit": 1.5, "action": "cool", "more": [1]}),
    *({"limit": 1, "action": "stop", "more": [0]}, {"limit": 1, "action": "halt"}),
    *({"limit": 1, "action": "stop", "x": 1}, [0.5, 1], [5, 1]),
)


def passes(value: Any, hint: Any) -> bool:
    try:
        Door({"key": value}, {"key": value}).check({"key": hint})
    except ValueError as error:
        if re.match(r"key[\w. \[\]-]*: .", str(error)) is None:
            raise
        return False
    return True


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_pydantic_judges_alike(hint: Any) -> None:
    assert [v for v in SAMPLES if passes(v, hint)] == [v for v in SAMPLES if is_allowed(v, hint)]


@cache
def leaves() -> Mapping[str, Any]:
    return plain_leaves(composed(*WITH_ALL))


def test_every_leaf_says_what_it_may_be() -> None:
    """A number has a range, and text is not empty unless that means something."""
    free = {
        "data.prompt.system",
        "metrics.scorers.clip_score.prefix",
        "debug.overrides",
        "phase",  # and this: who is there, and what is in it, are parts
        "captioner",
        "judge.endpoint.request.temperature",  # fields of a server's, of which JSON is asked alone
        "judge.endpoint.request.max_completion_tokens",
    }
    loose = {
        key
        for key, hint in leaves().items()
        if {Any, object, int, float, str, Mapping[str, Any]} & {*values._options(hint)}
        and not key.endswith(".path")  # of functions, which are looked for
    }
    assert loose <= free
    assert len(leaves()) > 250


def test_no_malformed_value_of_any_leaf_passes() -> None:
    """The long form is ``tests/campaigns/values.py``: by the command line itself."""
    tried = 0
    for key, hint in leaves().items():
        for value in malformed(hint):
            tried += 1
            assert not passes(value, hint), (key, value)
        for value in well_formed(hint):
            assert passes(value, hint), (key, value)
    assert tried > 5000


def test_libraries_are_quiet_before_classes_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS, which captioner=systems imports, tells of versions that it does not find."""
    monkeypatch.setattr(logging.getLogger("faiss"), "level", logging.NOTSET)
    told = []
    monkeypatch.setattr(Door, "check", lambda *_: told.append(logging.getLogger("faiss").level))
    check_values(OmegaConf.create({}), [])
    assert told == [logging.WARNING]
