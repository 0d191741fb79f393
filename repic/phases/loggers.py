"""Where numbers go: ``metrics.jsonl`` always, and the loggers that conf/logger/ names."""

import logging
import math
import netrc
import os
import secrets
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from repic import files
from repic.values import FolderName, Text

log = logging.getLogger(__name__)


class JsonlLogger(Logger):
    """One JSON object a line: ``{"phase": ..., "iteration": ..., key: number, ...}``.

    Only rank 0 makes one. A resumed phase calls ``keep`` first, so that no iteration stands
    in the file twice.

    Args:
        path: the file; made when the first line comes.
        phase: what every line is marked with.
    """

    def __init__(self, path: Path, phase: str) -> None:
        super().__init__()
        self.path, self.phase = path, phase

    @property
    def name(self) -> str:
        return "jsonl"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the run's folder holds the resolved configuration."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # JSON has no NaN; null says that there was a number to be had and it was none.
        row = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        files.append_line(self.path, {"phase": self.phase, "iteration": step, **row})

    def save(self) -> None:
        """Wait until the disk has the lines."""
        if self.path.exists():
            files.flush(self.path)

    def keep(self, last: int) -> int:
        """Drop this phase's lines after iteration ``last``, which are about to come again.

        Returns:
            The last iteration that had a line.
        """
        rows = files.read_lines(self.path, phase=str, iteration=int)
        kept = [r for r in rows if r["phase"] != self.phase or r["iteration"] <= last]
        if self.path.exists():
            files.write_lines(self.path, kept)
        return max((r["iteration"] for r in rows if r["phase"] == self.phase), default=0)


def has_wandb_account() -> bool:
    """Whether W&B could log in without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def csv_logger(save_dir: Path, *, name: FolderName) -> CSVLogger:
    """Log to a CSV file in a folder of the run's."""
    return CSVLogger(save_dir, name=name)


def tensorboard_logger(save_dir: Path, *, name: FolderName) -> TensorBoardLogger:
    """Log for TensorBoard in a folder of the run's."""
    return TensorBoardLogger(save_dir, name=name)


def wandb_logger(
    save_dir: Path,
    *,
    project: Text,
    group: Text,
    name: Text | None,
    mode: Literal["auto", "online", "offline"],
) -> WandbLogger:
    """Log to Weights & Biases: a folder's run is one, however often it is interrupted.

    Its id lies in the folder. Offline every attempt has a folder of its own below wandb/, all with
    that id, and ``wandb sync`` puts them together.

    Args:
        save_dir: the run's folder.
        project: where the run is filed.
        group: shared by the jobs of a sweep.
        name: the run's label; None takes the last two parts of its folder, which tell the jobs of
            a sweep apart: "reward-quality/seed_0".
        mode: "online", "offline", or "auto": online where there is an account.
    """
    offline = mode == "offline" or (mode == "auto" and not has_wandb_account())
    if offline and mode == "auto":
        _say_offline()
    file = save_dir / "wandb" / "id"
    if not file.exists():
        files.write_text(file, secrets.token_hex(8))
    return WandbLogger(
        name=name or "/".join(save_dir.absolute().parts[-2:]),
        save_dir=str(save_dir),
        offline=offline,
        id=file.read_text(encoding="utf-8"),
        resume="allow",
        project=project,
        group=group,
    )


@cache  # once, however many jobs a sweep has
def _say_offline() -> None:
    log.info("W&B has no account here (WANDB_API_KEY, ~/.netrc): it logs offline, into wandb/")


def log_settings(logger: Logger, settings: Mapping[Any, Any]) -> None:
    """Give W&B the run's configuration, to sort and group runs by; others have ``config.yaml``."""
    if isinstance(logger, WandbLogger):
        logger.log_hyperparams(dict(settings))


def log_scores(logger: Logger, scores: Mapping[str, float]) -> None:
    """Put a run's results where a dashboard ranks runs by them: into W&B's summary."""
    if isinstance(logger, WandbLogger):
        logger.experiment.summary.update(dict(scores))


def log_images(logger: Logger, key: str, images: list[Image.Image], captions: list[str]) -> None:
    """Log pictures by themselves; offline W&B loses those inside a table's cells."""
    if isinstance(logger, WandbLogger):
        logger.log_image(key, images, caption=captions)


def close(logger: Logger, *, is_finished: bool) -> None:
    """End a job's logging, so that a sweep's next job in this process begins its own.

    Args:
        logger: of the job.
        is_finished: nothing has cut the job short; what has is told to W&B.
    """
    logger.finalize("success" if is_finished else "failed")
    # Asking for `experiment` would start one only to end it; without the end, W&B would file
    # the next job under this one.
    if isinstance(logger, WandbLogger) and logger._experiment is not None:
        logger._experiment.finish(exit_code=0 if is_finished else 1)
