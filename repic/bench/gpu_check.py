"""What a GPU shows that a CPU cannot, in nine minutes: ``make gpu-check``.

Needs torch, transformers and peft, whatever versions the machine has, and no package besides. Each
part is a process of its own with a time limit; what it finds is in ``gpu_check.jsonl`` as soon as
it is known, a line each, and a part that fails leaves the others their turn.

- correctness: log-probabilities packed = plain = the library's whole forward pass, for each
  attention and precision; greedy captions packed = plain, with recorded steps and without
- step: a step of Qwen2.5-VL-7B's size, random weights, engine against engine in turns
- toybox: supervised steps of the tiny model, for as long as time is left
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

LIMITS = {"correctness": 120, "step": 270, "toybox": 120}  # seconds, 510 in all
FULL: dict[str, Any] = {
    "model": "qwen2_5_vl_7b",
    "pixels": 500,
    "pictures": 5,
    "text_tokens": 880,
    "group_size": 8,
    "caption_tokens": 128,
    "lora": {"r": 64, "alpha": 128, "dropout": 0.05},
    "rounds": 3,
    "seconds": 75,  # of toybox steps
}
KL = 0.04


def main() -> None:
    """Run every part, or one."""
    parser = argparse.ArgumentParser(prog="repic.bench.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check"))
    parser.add_argument("--device", default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--sizes", type=json.loads, default={}, help="instead of those in FULL")
    parser.add_argument("--part", choices=LIMITS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part is not None:
        stand_in_for_annotations()
        run_part(given.part, given.device, {**FULL, **given.sizes}, given.out)
        return
    for part, limit in LIMITS.items():
        said = run_process([*sys.argv[1:], "--part", part], limit)
        if said:
            note(given.out, part, failed=said)


def run_process(arguments: Sequence[str], limit: float) -> str:
    """Run a part; return why it failed, or nothing."""
    command = [sys.executable, "-m", "repic.bench.gpu_check", *arguments]
    try:
        done = subprocess.run(
            command, stderr=subprocess.PIPE, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return f"not done after {limit:g} s"
    return "" if done.returncode == 0 else done.stderr.strip()[-2000:]


def note(out: Path, part: str, **found: Any) -> None:
    """Write a line of what was found, and print it."""
    line = json.dumps({"part": part, **found})
    print(line, flush=True)
    with (out / "gpu_check.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def stand_in_for_annotations() -> None:
    """Do without ``annotated_types``, whose bounds nobody checks here."""
    if find_spec("annotated_types") is None:
        module: Any = ModuleType("annotated_types")
        for name in ("Ge", "Gt", "Le", "Lt", "MinLen", "Predicate"):
            setattr(module, name, lambda *_: None)
        sys.modules["annotated_types"] = module


def run_part(part: str, device: str, sizes: dict[str, Any], out: Path) -> None:
    """Do one part in this process."""
    import torch

    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    note(out, part, device=name, torch=torch.__version__, transformers=version("transformers"))
    for found in {"correctness": correctness, "step": step, "toybox": toybox}[part](device, sizes):
        note(out, part, **found)


def correctness(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Compare engines on the embedded model, and on the toybox's prompts."""
    import torch

    from repic.models.engine.library import score_rows
    from repic.models.engine.packed import PackedEngine
    from repic.models.engine.plain import PlainEngine

    examples = toy_examples(4)
    for dtype in ("float32", "bfloat16"):
        for attention in ("sdpa", "flash_attention_2"):
            if attention == "flash_attention_2" and (
                dtype == "float32" or not find_spec("flash_attn")
            ):
                yield {
                    "dtype": dtype,
                    "attention": attention,
                    "skipped": "not installed, or float32",
                }
                continue
            policy = tiny(device, dtype=dtype, attention=attention)
            engines: dict[str, Any] = {"plain": PlainEngine(), "packed": packed()}
            if device == "cuda":
                engines["packed, CUDA graphs"] = PackedEngine(feature_cache=256, cuda_graphs=True)
            greedy = {}
            for name, engine in engines.items():
                sampling = sampled(16, temperature=0.0)
                drawn = engine.sample(policy, examples, group_size=2, sampling=sampling, seed=0)
                greedy[name] = [rollout.completion_ids.tolist() for rollout in drawn]
            rollouts = engines["plain"].sample(
                policy, examples, group_size=4, sampling=sampled(16), seed=0
            )
            ids = [rollout.completion_ids for rollout in rollouts]
            shown = [rollout.example for rollout in rollouts]
            with torch.no_grad():
                plain = engines["plain"].logprobs(policy, rollouts)
                library = score_rows(policy, shown, ids, entropy=False)
                ours = engines["packed"].logprobs(policy, rollouts)
            yield {
                "dtype": dtype,
                "attention": attention,
                "tokens": int(plain.mask.sum()),
                "packed_from_plain": (ours.logprobs - plain.logprobs).abs().max().item(),
                "plain_from_library": (plain.logprobs - library.logprobs).abs().max().item(),
                "greedy_equal": {
                    name: sum(a == b for a, b in zip(found, greedy["plain"], strict=True))
                    / len(found)
                    for name, found in greedy.items()
                },
            }


def step(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time steps of full size: the engines in turns, each round's parts."""
    import torch

    from repic.bench.full import full_table, sized_policy
    from repic.bench.paper import model_config
    from repic.models.costs import PACKED, ModelCosts, Workload
    from repic.models.engine.packed import PackedEngine
    from repic.models.engine.plain import PlainEngine
    from repic.models.memory import StepPlan, training_of
    from repic.models.peaks import peak_flops, utilization

    if find_spec("trl") is None:
        yield {"trl": "not importable: repic's own engines are compared"}
    shape = {name: sizes[name] for name in ("pixels", "pictures", "text_tokens", "lora")}
    make = {"dtype": torch.bfloat16, "gradient_checkpointing": True, **shape}
    config = model_config(dimensions(sizes))
    bare = sized_policy(config, **make)
    prompt = bare.encoder.prompts([example(0)])[0]
    plan = StepPlan(
        prompts=1,
        group_size=sizes["group_size"],
        prompt_tokens=len(prompt.input_ids),
        caption_tokens=sizes["caption_tokens"],
        micro_batch_tokens=10**6,
        training=training_of(bare, has_reference=True),
        scheme=PACKED,
    )
    rows = {row["part"]: row for row in full_table(bare, plan, packed)}
    predicted = rows["update peak"]["counted"]
    yield {"prompt_tokens": plan.prompt_tokens, "predicted_update_peak_gib": predicted}
    policy = sized_policy(config, **make, device=device)
    policy.freeze_reference()
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), lr=1e-6)
    costs = ModelCosts(policy.network, policy.family)
    vision: Any = rows["vision TFLOP"]["counted"]
    work = Workload(1, plan.group_size, plan.prompt_tokens, plan.caption_tokens, int(vision * 1e12))
    flops, _ = costs.step(work, PACKED, has_reference=True, is_checkpointed=True)
    engines: dict[str, Any] = {"packed": packed, "plain": PlainEngine}
    if device == "cuda":
        engines["packed, CUDA graphs"] = lambda: PackedEngine(feature_cache=256, cuda_graphs=True)
    peak = peak_flops(torch.cuda.get_device_name(), "bfloat16") if device == "cuda" else None
    for round_ in range(sizes["rounds"] + 1):  # the first warms up
        for name, make_engine in engines.items():
            try:
                found = one_step(policy, make_engine(), optimizer, plan, device, round_)
            except torch.OutOfMemoryError as error:
                yield {"round": round_, "engine": name, "failed": str(error)[:300]}
                continue
            if name.startswith("packed") and peak:
                found["mfu_update"] = utilization(flops.update, found["update_s"], peak) or 0.0
            yield {"round": round_, "engine": name, **found}


def one_step(
    policy: Any, engine: Any, optimizer: Any, plan: Any, device: str, seed: int
) -> dict[str, float]:
    """Rollout, reference, update and the optimizer's step of one prompt; seconds and GiB."""
    import torch

    from repic.rl.kl import kl_penalty
    from repic.rl.losses import grpo_loss, token_weights

    found: dict[str, float] = {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        if device == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        begun = time.perf_counter()
        yield
        if device == "cuda":
            torch.cuda.synchronize()
            found[f"{part}_peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        found[f"{part}_s"] = time.perf_counter() - begun

    group, length = plan.group_size, plan.caption_tokens
    with timed("step"):
        with timed("rollout"):
            rollouts = engine.sample(
                policy, [example(seed)], group_size=group, sampling=sampled(length), seed=seed
            )
        with timed("reference"):
            reference = engine.reference_logprobs(policy, rollouts)
        with timed("update"):
            tokens = engine.logprobs(policy, rollouts, entropy=True)
            weights = token_weights(
                tokens.mask,
                aggregation="sequence_mean",
                num_sequences=group,
                num_tokens=group * length,
                max_tokens=length,
            )
            advantages = torch.linspace(-1, 1, group, device=device)
            loss = grpo_loss(
                tokens.logprobs, None, advantages, weights, clip_eps_low=0.2, clip_eps_high=0.2
            ).loss
            loss = (
                loss + KL * kl_penalty(tokens.logprobs, reference, weights, estimator="k3").penalty
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.trainable_parameters(), 1.0)
        with timed("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
    parts = engine.meter.take()
    found |= {name.replace("time/", ""): x for name, x in parts.items() if "time/" in name}
    found["decode_tokens_per_s"] = group * length / found["decode_s"]
    return found


def toybox(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Take supervised steps on the toybox for a while."""
    import torch

    policy, engine = tiny(device, dtype="float32", attention="sdpa"), packed()
    policy.train()
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), lr=1e-4)
    examples = toy_examples(256)
    begun, steps, last = time.perf_counter(), 0, 0.0
    while time.perf_counter() < begun + sizes["seconds"] or not steps:
        some = [examples[(16 * steps + i) % len(examples)] for i in range(16)]
        scored = engine.target_logprobs(policy, some, [one.target for one in some])
        loss = -scored.logprobs.sum() / scored.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        if steps == 1 or time.perf_counter() > last + 15:
            last = time.perf_counter()
            yield {"steps": steps, "loss": loss.item(), "s": last - begun}
    yield {"steps": steps, "loss": loss.item(), "s": time.perf_counter() - begun}


def settings(name: str) -> dict[str, Any]:
    """Read a file of conf/ as it stands."""
    import yaml

    file = Path(__file__).parents[1] / "conf" / f"{name}.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def dimensions(sizes: dict[str, Any]) -> dict[str, Any]:
    """The model's, or smaller ones that were asked for."""
    found = settings("bench/paper")["paper"]["models"][sizes["model"]]
    for part in ("text_config", "vision_config"):
        found[part] |= sizes.get(part, {})
    return found


def example(number: int) -> Any:
    """A prompt of full size."""
    from repic.types import Example

    return Example(id=str(number), task="caption")


def packed() -> Any:
    """The engine as runs have it."""
    from repic.models.engine.packed import PackedEngine

    return PackedEngine(feature_cache=256, cuda_graphs=False)


def sampled(length: int, *, temperature: float = 1.0) -> Any:
    """Sampling of captions that are so long."""
    from repic.models.engine.sampling import Sampling

    return Sampling(
        temperature=temperature, top_p=1.0, top_k=0, min_p=0.0, max_new_tokens=length, stop=()
    )


def tiny(device: str, *, dtype: str, attention: Any) -> Any:
    """The embedded model, all of whose language model is trained."""
    from repic.data.prompts import PromptTemplate
    from repic.models.loading import load_policy

    given = {k: v for k, v in settings("data/toybox")["prompt"].items() if k != "_target_"}
    policy = load_policy(
        settings("model/tiny")["path"],
        dtype=dtype,
        attention=attention,
        lora=None,
        train_vision=False,
        export="merged",
        gradient_checkpointing=False,
        min_pixels=None,
        max_pixels=None,
        prompt=PromptTemplate(**given),
    )
    return policy.to(device)


def toy_examples(number: int) -> list[Any]:
    """Training examples with one or two toys."""
    from repic.toybox.dataset import CaptionDataset, SceneRules

    data = settings("data/toybox")
    rules = SceneRules(**{k: v for k, v in data["rules"].items() if k != "_target_"})
    dataset = CaptionDataset(
        split="train",
        counts=[1, 2],
        size=number,
        seed=0,
        rules=rules,
        questions=data["questions"],
        scale=data["scale"],
    )
    return [dataset[i] for i in range(number)]


if __name__ == "__main__":
    main()
