"""Which phases know which ways of sharing their work."""

import pytest

from repic.models.engine.plain import PlainEngine
from repic.models.engine.vllm import VllmEngine
from repic.phases.dpo import DpoPhase
from repic.phases.grpo_phase import GrpoPhase
from repic.phases.phase import Phase
from repic.phases.pretrain import PracticePhase, VisionPhase
from repic.phases.sft import SftPhase
from repic.phases.skills import SkillsPhase

KNOWING: tuple[type[Phase], ...] = (SftPhase, DpoPhase, GrpoPhase)
OTHERS: tuple[type[Phase], ...] = (PracticePhase, VisionPhase, SkillsPhase)


def test_a_phase_that_does_not_know_of_slices_refuses_them_by_name() -> None:
    for phase in KNOWING:
        for strategy in ("auto", "ddp", "fsdp"):
            phase.__new__(phase).check_strategy(strategy, PlainEngine())
    for phase in OTHERS:
        phase.__new__(phase).check_strategy("ddp", PlainEngine())
        with pytest.raises(ValueError, match=f"fsdp is none that phase {phase.name} knows"):
            phase.__new__(phase).check_strategy("fsdp", PlainEngine())


def test_so_does_an_engine_whose_sampler_wants_whole_weights() -> None:
    engine = VllmEngine.__new__(VllmEngine)
    SftPhase.__new__(SftPhase).check_strategy("ddp", engine)
    with pytest.raises(ValueError, match="engine: this one does not draw"):
        SftPhase.__new__(SftPhase).check_strategy("fsdp", engine)
