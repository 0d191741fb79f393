"""Serve a model to others: ``python -m repic.serve checkpoint``.

OpenAI's chat completions, by vLLM where that is to be had (an environment of its own, see
``requirements-vllm.lock``), else by repic's own engine. With ``rollouts=true`` it is the server
that ``engine=vllm`` draws captions from.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import hydra
from annotated_types import Ge, Le
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from repic.assembly import MODEL_KEYS, MaybeText, Part, check_values, load_model, make, quieten
from repic.errors import not_served
from repic.run import guarded
from repic.values import Amount, Count, Text

log = logging.getLogger(__name__)

USAGE = "name a model's directory: python -m repic.serve outputs/.../checkpoints/grpo"
MaybeCount = Count | None
READ = {
    "host": Text,
    "port": Annotated[int, Ge(0), Le(65535)],
    "name": Text,
    "server": Literal["auto", "vllm", "repic"],
    "python": MaybeText,
    "rollouts": bool,
    "pictures": Amount,
    "context": MaybeCount,
    "rank": Count,
    "arguments": list[Text],
    "check": bool,
    "sampling": Part,
    **MODEL_KEYS,
}


@hydra.main(version_base="1.3", config_path="pkg://repic.conf", config_name="serve")
def job(cfg: DictConfig) -> None:
    """Serve until the process is told to end."""
    hydra_cfg = HydraConfig.get()
    os.chdir(hydra_cfg.runtime.cwd)
    given = list(hydra_cfg.overrides.task)
    if not any(words.startswith("model.path=") for words in given):
        raise ValueError(USAGE)
    quieten()
    check_values(cfg, given, read=READ)
    from repic.models.directory import find_model
    from repic.models.readers import readers

    folder = find_model(cfg.model.path)
    found = readers(folder)
    for reader in found:
        log.info("%s: %s", folder, reader)
    if cfg.check:
        return
    python = vllm_python(cfg)
    if python is None:
        serve_by_repic(cfg, folder)
        return
    if problems := next(reader for reader in found if reader.name == "vLLM").problems:
        raise ValueError(f"{folder}: vLLM cannot serve it: {'; '.join(problems)}")
    command = vllm_command(cfg, folder, python)
    log.info("%s", " ".join(command))
    os.execve(command[0], command, {**os.environ, **vllm_environment(rollouts=cfg.rollouts)})


def vllm_python(cfg: DictConfig) -> str | None:
    """The Python that has vLLM; None if repic is to serve.

    Raises:
        ValueError: it is asked for and not there.
    """
    if cfg.server == "repic":
        if cfg.rollouts:
            raise ValueError("rollouts=true: only vLLM lets a trainer change its weights")
        return None
    python = shutil.which(Path(cfg.python).expanduser()) if cfg.python else sys.executable
    looks = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    if python is not None and not subprocess.run([python, "-c", looks], check=False).returncode:
        return os.path.abspath(python)  # not resolved: an environment's is a link
    wanted = cfg.server == "vllm" or cfg.python or cfg.rollouts
    if wanted:
        raise ValueError(
            f"python={cfg.python}: has no vLLM; python3.11 -m venv venv-vllm, venv-vllm/bin/pip"
            " install -r requirements-vllm.lock, then python=venv-vllm/bin/python"
        )
    return None


def vllm_command(cfg: DictConfig, folder: Path, python: str) -> list[str]:
    """The command line that starts vLLM's server.

    Adapters are served beside the model that they belong to, whose directory it loads.
    """
    from repic.models.directory import find_base, is_adapter

    adapters = is_adapter(folder)
    base = find_base(folder) if adapters else folder
    limits = json.dumps({"image": cfg.pictures, "video": 0})
    words = ["--model", str(base.absolute()), "--host", cfg.host, "--port", str(cfg.port)]
    words += ["--served-model-name", f"{cfg.name}-base" if adapters else cfg.name]
    words += ["--limit-mm-per-prompt", limits]
    if cfg.trainer.options.accelerator == "cpu":
        words += ["--dtype", cfg.model.dtype, "--enforce-eager"]
    if cfg.context is not None:
        words += ["--max-model-len", str(cfg.context)]
    if adapters or cfg.rollouts:
        words += ["--enable-lora", "--max-lora-rank", str(cfg.rank)]
    if adapters:
        words += ["--lora-modules", f"{cfg.name}={folder.absolute()}"]
    # `vllm serve` of the CPU's build looks for a package of another name.
    return [python, "-m", "vllm.entrypoints.openai.api_server", *words, *cfg.arguments]


def vllm_environment(*, rollouts: bool) -> Mapping[str, str]:
    """Variables for vLLM's server."""
    quiet = {"VLLM_NO_USAGE_STATS": "1"}
    if not rollouts:
        return quiet
    return quiet | {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}


def serve_by_repic(cfg: DictConfig, folder: Path) -> None:
    """Answer requests until the process is told to end.

    Raises:
        ValueError: the port is taken.
    """
    import torch

    from repic.models.chat import ChatModel, Talks, chat_server

    torch.set_num_threads(cfg.trainer.threads)
    talks = Talks()
    policy = load_model(cfg, str(folder), talks)
    settings: Any = {"engine": make(cfg.engine), "sampling": make(cfg.sampling), "name": cfg.name}
    chat = ChatModel(policy, talks, pictures=cfg.pictures, **settings)
    try:
        http = chat_server(chat, cfg.host, cfg.port)
    except OSError as error:
        raise not_served(cfg.host, cfg.port, error) from None
    with http:
        log.info("http://%s:%d/v1 offers %s", cfg.host, http.server_port, cfg.name)
        http.serve_forever()


def main() -> None:
    """Run from the command line: the first word that is no setting is the checkpoint."""
    from repic.caption import kinds_of, quoted

    if "place" in (kinds := kinds_of(sys.argv[1:])):
        place = 1 + kinds.index("place")
        sys.argv[place] = f"model.path={quoted(sys.argv[place])}"
    guarded(job, "repic.serve", config="serve", kept="nothing is lost", after="start it again")


if __name__ == "__main__":
    main()
