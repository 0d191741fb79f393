"""The contender from elsewhere: TRL's ``GRPOTrainer`` on the same model, prompts and captions.

What is made equal: weights, words and pictures of the prompts, numbers of captions and tokens,
which weights are trained, precision, learning rate, clipping, temperature, reward. What is TRL's
own is left as it comes: how it samples, scores and averages, and all rows in one forward pass.
"""

import tempfile
from typing import Any

import torch
from omegaconf import DictConfig
from peft import LoraConfig
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    ProcessorMixin,
    Qwen2_5_VLProcessor,
    TrainerCallback,
)

from repic.assembly import make
from repic.bench.turns import Turns, Vowels
from repic.models.encoder import PromptEncoder
from repic.models.families import Family, family_of
from repic.models.loading import choose_attention
from repic.types import Example, Examples


def take_part(
    cfg: DictConfig, *, model: str, dataset: Examples, turns: Turns, iterations: int
) -> None:
    """Do as many steps as there are turns; see ``repic.bench.own.take_part``."""
    import datasets  # pyright: ignore[reportMissingImports]
    import trl  # pyright: ignore[reportMissingImports]

    prompt = make(cfg.data.prompt)
    bounds = {"min_pixels": cfg.model.min_pixels, "max_pixels": cfg.model.max_pixels}
    encoder = PromptEncoder(model, prompt=prompt, **bounds)
    prompts = cfg.phase.grpo.prompts
    # Pictures are made when a row is asked for: storing them would cost time and memory.
    rows = datasets.Dataset.from_dict({"index": list(range(len(dataset)))})
    rows = rows.with_transform(Rows(dataset, prompt, kept=prompts))

    def vowels(completions: list[Any], **_: Any) -> list[float]:
        turns.mark_sampled()
        texts = [answer[0]["content"] for answer in completions]
        return [Vowels()(text, None)["vowels"] for text in texts]

    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.GRPOTrainer(
            model=load_model(cfg, model),
            reward_funcs=vowels,
            args=trl.GRPOConfig(output_dir=folder, **options(cfg, iterations)),
            train_dataset=rows,
            processing_class=processor(model, encoder),
            peft_config=adapters(cfg, encoder.family),
            callbacks=[Gate(turns)],
        )
        first = encoder.encode([dataset[i] for i in range(prompts)])
        turns.ready(first.attention_mask.sum().item() / prompts)
        trainer.train()


def options(cfg: DictConfig, iterations: int) -> dict[str, Any]:
    """The bench's settings in TRL's words."""
    phase, length = cfg.phase.grpo, cfg.phase.grpo.sampling.max_new_tokens
    captions = phase.prompts * phase.group_size
    micro = cfg.trl_micro or captions
    if captions % micro:
        raise ValueError(f"trl_micro: {micro} does not divide the step's {captions} captions")
    return {
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": captions // micro,
        "num_generations": phase.group_size,
        "max_completion_length": length,
        # The end token is forbidden, or captions would end where they like.
        "generation_kwargs": {"min_new_tokens": length},
        "temperature": phase.sampling.temperature,
        "top_p": phase.sampling.top_p,
        "top_k": phase.sampling.top_k,
        "max_steps": iterations,
        "num_iterations": phase.num_updates,
        "beta": phase.kl_coef,
        "learning_rate": phase.optimizer.lr,
        "max_grad_norm": phase.grad_clip,
        "gradient_checkpointing": cfg.model.gradient_checkpointing,
        "bf16": cfg.model.dtype == "bfloat16",
        "fp16": cfg.model.dtype == "float16",
        "use_cpu": cfg.trainer.options.accelerator == "cpu",
        "seed": cfg.seed,
        "shuffle_dataset": False,
        "remove_unused_columns": False,
        "dataloader_num_workers": cfg.trainer.num_workers,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def load_model(cfg: DictConfig, path: str) -> Any:
    """Load the weights and train the same ones as our contenders do."""
    dtype = getattr(torch, cfg.model.dtype)
    attention = choose_attention(cfg.model.attention, dtype)
    model: Any = AutoModelForImageTextToText.from_pretrained(
        path, dtype=dtype, attn_implementation=attention, trust_remote_code=False
    )
    family = family_of(model.config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = family.is_language(name) or cfg.model.train_vision
    return model


def adapters(cfg: DictConfig, family: Family) -> LoraConfig | None:
    """Low-rank adapters in the same places as ours, if there are any."""
    lora = cfg.model.lora
    if lora is None:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=family.adapter_targets,
        task_type="CAUSAL_LM",
    )


class ImageOnlyProcessor(Qwen2_5_VLProcessor):
    """The library's processor without its video part, which needs torchvision."""

    def __init__(self, image_processor: Any, tokenizer: Any, chat_template: Any = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["image_processor", "tokenizer"]


def processor(path: str, encoder: PromptEncoder) -> Any:
    """The library's processor, with the limits on pictures that ours have."""
    if encoder.family.uses_mrope:
        processor = encoder.images.processor
        return ImageOnlyProcessor(processor, encoder.tokenizer, encoder.chat_template)
    return AutoProcessor.from_pretrained(path, trust_remote_code=False)


class Rows:
    """Turns numbers of examples into the columns that TRL reads.

    Args:
        dataset: the examples.
        prompt: words them.
        kept: how many rows are remembered: TRL asks for a prompt once for each of its captions.
    """

    def __init__(self, dataset: Examples, prompt: Any, *, kept: int) -> None:
        self.dataset, self.prompt, self.kept = dataset, prompt, kept
        self.rows: dict[int, dict[str, Any]] = {}

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        rows = [self._row(index) for index in batch["index"]]
        return {key: [row[key] for row in rows] for key in ("prompt", "images")}

    def _row(self, index: int) -> dict[str, Any]:
        if index not in self.rows:
            while len(self.rows) >= self.kept:
                del self.rows[next(iter(self.rows))]
            self.rows[index] = self._make(self.dataset[index])
        return self.rows[index]

    def _make(self, example: Example) -> dict[str, Any]:
        messages = [
            {"role": message["role"], "content": [_without_payload(i) for i in message["content"]]}
            for message in self.prompt.messages(example)
        ]
        return {"prompt": messages, "images": [image.load() for image in example.images]}


def _without_payload(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image"} if item["type"] == "image" else item


class Gate(TrainerCallback):
    """Lets a step begin when it is this contender's turn, and reports it at its end."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turns.wait()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.turns.report()
