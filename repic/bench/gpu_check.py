"""What a GPU shows that a CPU cannot, in nine minutes: ``make gpu-check``.

Needs torch, transformers and peft, whatever versions the machine has, and neither other packages
of ours nor a network. Each part is a process of its own with a time limit, the most telling first;
what it finds is in ``gpu_check.jsonl`` as soon as it is known, a line each. Neither a part that
fails nor an engine that fails within one takes the others' turn.

- correctness: log-probabilities packed = plain = the library's whole forward pass, for each
  attention and precision; greedy captions of the library's ``generate`` = plain = packed, with
  recorded steps and without
- step: a step of Qwen2.5-VL-7B's size, random weights, engine against engine in turns
- prediction: the memory of its update, as ``bench=full`` counts it
- toybox: supervised steps of the tiny model
"""

import argparse
import faulthandler
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

LIMITS = {"correctness": 120, "step": 230, "prediction": 60, "toybox": 100}  # seconds: 510 in all
FULL: dict[str, Any] = {
    "model": "qwen2_5_vl_7b",
    "pixels": 500,
    "pictures": 5,
    "text_tokens": 880,
    "group_size": 8,
    "caption_tokens": 128,
    "lora": {"r": 64, "alpha": 128, "dropout": 0.05},
    "rounds": 3,
    "seconds": 60,  # of toybox steps
}
KL = 0.04


def main() -> None:
    """Run every part, or one; what failed is named at the end, and the status is 1."""
    parser = argparse.ArgumentParser(prog="repic.bench.gpu_check", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check"))
    parser.add_argument("--device", default="cuda", help="cpu: to try the script itself")
    parser.add_argument("--sizes", type=json.loads, default={}, help="instead of those in FULL")
    parser.add_argument("--part", choices=LIMITS)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.part is not None:
        faulthandler.dump_traceback_later(LIMITS[given.part] - 2)  # where it was when it was ended
        stand_in()
        run_part(given.part, given.device, {**FULL, **given.sizes}, given.out)
        return
    found = given.out / "gpu_check.jsonl"
    known = len(read_notes(found))  # of an earlier check
    for part, limit in LIMITS.items():
        said = run_process([*sys.argv[1:], "--part", part], limit, given.out / f"{part}.log")
        if said:
            note(given.out, part, failed=said)
    failed = dict.fromkeys(line["part"] for line in read_notes(found)[known:] if "failed" in line)
    if failed:
        sys.exit(f"failed in part or whole: {', '.join(failed)}; why stands in {found}")


def run_process(arguments: Sequence[str], limit: float, log: Path) -> str:
    """Run a part, what it complains of in a file; return why it failed, or nothing."""
    command = [sys.executable, "-m", "repic.bench.gpu_check", *arguments]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}  # rather than wait for a network
    status: int | None = None
    with log.open("w", encoding="utf-8") as complaints, suppress(subprocess.TimeoutExpired):
        status = subprocess.run(
            command, stderr=complaints, env=offline, timeout=limit, check=False
        ).returncode
    said = log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
    if status is None:
        return f"not done after {limit:g} s\n{said}".strip()
    return "" if status == 0 else said or f"ended by signal {-status}"


def read_notes(path: Path) -> list[dict[str, Any]]:
    """What was found so far."""
    return [json.loads(x) for x in path.read_text("utf-8").splitlines()] if path.exists() else []


def note(out: Path, part: str, **found: Any) -> None:
    """Write a line of what was found, and print it."""
    line = json.dumps({"part": part, **found})
    print(line, flush=True)
    with (out / "gpu_check.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def stand_in() -> None:
    """Do without ``annotated_types`` and ``pydantic``: nobody checks here what they check."""

    def bound(name: str) -> Callable[..., None]:
        if name.startswith("__"):  # as __file__, which torch asks all modules for
            raise AttributeError(name)
        return lambda *_: None

    spec = find_spec("annotated_types")
    if spec is None or spec.origin is None:  # or it left an empty folder, which is a namespace
        module: Any = ModuleType("annotated_types")
        module.__getattr__ = bound
        sys.modules["annotated_types"] = module
    spec = find_spec("pydantic")
    if spec is None or spec.origin is None:
        from repic import files

        files.as_shape = lambda shape, value, place, **_: value


def run_part(part: str, device: str, sizes: dict[str, Any], out: Path) -> None:
    """Do one part in this process."""
    import torch

    torch.manual_seed(0)
    # float32 means float32: a GPU's convolutions would round to TF32.
    torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    note(out, part, device=name, torch=torch.__version__, transformers=version("transformers"))
    parts = {"correctness": correctness, "step": step, "prediction": prediction, "toybox": toybox}
    for found in parts[part](device, sizes):
        note(out, part, **found)


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Find something out, or why it cannot be; what a failure held is freed."""
    import torch

    try:
        return work()
    except Exception as error:  # whatever it is, others have their turn
        found = {"failed": f"{type(error).__name__}: {error}"[:1000]}
    gc.collect()
    torch.cuda.empty_cache()
    return found


def correctness(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Compare engines on the embedded model, and on the toybox's prompts."""
    from repic.models.engine.packed import PackedEngine

    examples = toy_examples(4)
    for dtype, attention in (
        ("float32", "sdpa"),
        ("bfloat16", "sdpa"),
        ("bfloat16", "flash_attention_2"),
    ):
        case = {"dtype": dtype, "attention": attention}
        if attention == "flash_attention_2" and not find_spec("flash_attn"):
            yield {**case, "skipped": "flash_attn is not installed"}
            continue
        policy = tiny(device, dtype=dtype, attention=attention)
        yield {**case, **attempt(partial(scores_apart, policy, examples))}
        engines = {"packed": packed()}
        if device == "cuda":
            engines["packed, CUDA graphs"] = PackedEngine(feature_cache=256, cuda_graphs=True)
        for name, engine in engines.items():
            found = attempt(partial(greedy_equal, policy, examples, engine))
            yield {**case, "engine": name, **found}


def scores_apart(policy: Any, examples: Sequence[Any]) -> dict[str, Any]:
    """Score drawn captions: differences of a token's log-probability, and of all gradients."""
    import torch

    from repic.models.engine.library import score_rows
    from repic.models.engine.plain import PlainEngine

    rollouts = PlainEngine().sample(policy, examples, group_size=4, sampling=sampled(16), seed=0)
    scores, gradients = [], []
    for engine in (PlainEngine(), packed()):
        policy.zero_grad()
        tokens = engine.logprobs(policy, rollouts)
        tokens.logprobs.sum().backward()
        given = [p.grad.float().flatten() for p in policy.parameters() if p.grad is not None]
        scores.append(tokens.logprobs.detach())
        gradients.append(torch.cat(given))
    ids = [rollout.completion_ids for rollout in rollouts]
    with torch.no_grad():
        library = score_rows(policy, [one.example for one in rollouts], ids, entropy=False)
    (plain, ours), (gradient, our_gradient) = scores, gradients
    return {
        "tokens": sum(map(len, ids)),
        "packed_from_plain": (ours - plain).abs().max().item(),
        "plain_from_library": (plain - library.logprobs).abs().max().item(),
        "gradient_apart": ((our_gradient - gradient).norm() / gradient.norm()).item(),
    }


def greedy_equal(policy: Any, examples: Sequence[Any], engine: Any) -> dict[str, Any]:
    """Compare an engine's likeliest captions; the share that others say as well."""
    import torch

    from repic.models.engine.library import draw_rows
    from repic.models.engine.plain import PlainEngine

    sampling = sampled(16, temperature=0.0)

    def said(engine: Any) -> list[list[int]]:
        drawn = engine.sample(policy, examples, group_size=2, sampling=sampling, seed=0)
        return [rollout.completion_ids.tolist() for rollout in drawn]

    with torch.no_grad(), policy.evaluating():
        drawn = draw_rows(policy, examples, torch.rand(2 * len(examples), 16), sampling)
    lengths = drawn.lengths.tolist()
    others = {
        "plain": said(PlainEngine()),
        "generate": [x[:n].tolist() for x, n in zip(drawn.tokens, lengths, strict=True)],
    }
    ours = said(engine)
    return {
        f"greedy_as_{name}": sum(map(list.__eq__, ours, theirs)) / len(ours)
        for name, theirs in others.items()
    }


def step(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Time steps of full size: the engines in turns, each round's parts."""
    import torch

    from repic.models.costs import PACKED, ModelCosts, Workload
    from repic.models.engine.packed import PackedEngine
    from repic.models.engine.plain import PlainEngine
    from repic.models.peaks import peak_flops, utilization

    begun = time.perf_counter()
    policy, plan = sized(sizes, device)
    yield {"prompt_tokens": plan.prompt_tokens, "model_s": time.perf_counter() - begun}
    policy.freeze_reference()
    optimizer = torch.optim.AdamW(policy.trainable_parameters(), lr=1e-6)
    work = Workload(1, plan.group_size, plan.prompt_tokens, plan.caption_tokens, vision_flops=0)
    flops, _ = ModelCosts(policy.network, policy.family).step(
        work, PACKED, has_reference=True, is_checkpointed=True
    )
    engines: dict[str, Any] = {"packed": packed, "plain": PlainEngine}
    if device == "cuda":
        engines["packed, CUDA graphs"] = lambda: PackedEngine(feature_cache=256, cuda_graphs=True)
    peak = peak_flops(torch.cuda.get_device_name(), "bfloat16") if device == "cuda" else None
    for round_ in range(sizes["rounds"] + 1):  # the first warms up
        for name, make_engine in list(engines.items()):
            found = attempt(partial(one_step, policy, make_engine, optimizer, plan, device, round_))
            if "failed" in found:  # as it would again
                del engines[name]
                optimizer.zero_grad()
            elif name.startswith("packed") and peak:
                found["mfu_update"] = utilization(flops.update, found["update_s"], peak)
            yield {"round": round_, "engine": name, **found}


def prediction(device: str, sizes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Count the update's memory, of the part before, without a GPU."""
    from repic.bench.full import full_table

    for row in full_table(*sized(sizes, "meta"), packed):
        numbers = {name: row[name] for name in ("counted", "arithmetic")}
        yield {"of": row["part"], **{k: x for k, x in numbers.items() if x == x}}  # not NaN


def sized(sizes: dict[str, Any], device: str) -> tuple[Any, Any]:
    """Make a policy of random weights, and say what a step of it is."""
    import torch

    from repic.bench.full import sized_policy
    from repic.bench.paper import model_config
    from repic.models.costs import PACKED
    from repic.models.memory import StepPlan, training_of

    shape = {name: sizes[name] for name in ("pixels", "pictures", "text_tokens", "lora")}
    policy = sized_policy(
        model_config(dimensions(sizes)),
        dtype=torch.bfloat16,
        gradient_checkpointing=True,
        device=device,
        **shape,
    )
    return policy, StepPlan(
        prompts=1,
        group_size=sizes["group_size"],
        prompt_tokens=len(policy.encoder.prompts([example(0)])[0].input_ids),
        caption_tokens=sizes["caption_tokens"],
        micro_batch_tokens=10**6,
        training=training_of(policy, has_reference=True),
        scheme=PACKED,
    )


def one_step(
    policy: Any, make_engine: Any, optimizer: Any, plan: Any, device: str, seed: int
) -> dict[str, Any]:
    """Rollout, reference, update and the optimizer's step of one prompt; seconds and GiB."""
    import torch

    from repic.rl.kl import kl_penalty
    from repic.rl.losses import grpo_loss, token_weights

    found: dict[str, Any] = {}

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

    engine, group, length = make_engine(), plan.group_size, plan.caption_tokens
    begun = time.perf_counter()
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
        loss = loss + KL * kl_penalty(tokens.logprobs, reference, weights, estimator="k3").penalty
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.trainable_parameters(), 1.0)
    with timed("optimizer"):
        optimizer.step()
        optimizer.zero_grad()
    found["step_s"] = time.perf_counter() - begun
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
