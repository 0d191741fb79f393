"""Make the base model from nothing: build a random one, then imitate a mixture of tasks."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repic.data.module import Examples
from repic.phases import distributed, store
from repic.phases.context import Context, Stage
from repic.phases.evaluate import sample_texts
from repic.phases.randomness import stream_seed
from repic.phases.stages import Imitation


@dataclass(frozen=True, kw_only=True)
class PretrainPhase(Imitation):
    """Teach seeing, comparing and looking names up; or, in a phase before it, seeing alone.

    Attributes:
        phase: this one's name.
        build: writes a model with random weights into ``folder``, from ``seed``; its vision tower
            is that of ``vision_from``, the model of the phase before, if there was one.
        dataset: called with ``split``, ``size`` and ``seed``; its i-th example may depend on
            i / size, which is how far training has come: a curriculum.
        val_size: examples of each validation.
        sampling: how validation answers; greedily, as a rule.
    """

    phase: str
    build: Callable[..., Any]
    dataset: Callable[..., Examples]
    val_size: int
    sampling: Any

    def check(self, context: Context) -> None:
        self.dataset(split="train", size=1, seed=0)

    def run(self, context: Context, start: Stage) -> Stage:
        seed = stream_seed(context.seed, self.phase)
        folder = context.folder / "checkpoints" / self.phase
        scratch = folder.with_name(f"{self.phase}_start")
        if distributed.rank() == 0 and not store.is_done(scratch):
            before = start.checkpoint or None
            store.write_folder(
                scratch, lambda part: self.build(folder=part, seed=seed, vision_from=before)
            )
            store.mark_done(scratch, {"seed": seed})
        distributed.barrier()
        random_weights = Stage(
            phase=scratch.name,
            checkpoint=str(scratch),
            fingerprint=context.fingerprint(str(scratch)),
            started_from=start.fingerprint or None,
            time_s=0.0,
        )
        return self.fit(
            self.phase,
            context,
            random_weights,
            folder,
            metrics=Path(context.folder / "metrics.jsonl"),
            dataset=self.dataset(split="train", size=self.iterations * self.batch_size, seed=seed),
            validate=lambda policy: self.validate(policy, context),
        )

    def validate(self, policy: Any, context: Context) -> dict[str, float]:
        """Share of exactly right answers by task, on validation toys and names, in percent."""
        dataset = self.dataset(split="val", size=self.val_size, seed=0)
        examples = [dataset[i] for i in range(len(dataset))]
        texts = sample_texts(
            policy,
            context.engine,
            examples,
            batch_size=self.micro_batch,
            sampling=self.sampling,
        )
        right = defaultdict(list)
        for example, answer in zip(examples, texts, strict=True):
            right[example.task].append(answer.text.strip() in (example.target, *example.answers))
        return {f"{task}/exact": 100 * sum(hits) / len(hits) for task, hits in right.items()}
