import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from repic.phases.loggers import close, log_settings, wandb_logger
from repic.phases.monitor import Monitor
from tests.integration.small import start, summary_of


def test_wandb_tells_the_jobs_of_a_sweep_apart(tmp_path: Path) -> None:
    where = {"project": "p", "group": "g", "mode": "offline"}
    logger = wandb_logger(tmp_path / "kl-low" / "seed_1", name=None, **where)
    assert logger.name == "p"
    assert logger._wandb_init["name"] == "kl-low/seed_1"
    log_settings(logger, {"kl": {"coef": 0.01}, "seed": 1})
    assert logger.experiment.config["kl"] == {"coef": 0.01}
    assert logger.experiment.config["seed"] == 1
    close(logger, is_finished=True)
    named = wandb_logger(tmp_path / "a", name="mine", **where)
    assert named._wandb_init["name"] == "mine"


@pytest.mark.slow
def test_an_interrupted_run_is_one_run_with_its_scores(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("logger=wandb", "logger.mode=offline", "method=sft", "phase.sft.checkpoint_every=1")
    log = Monitor.log

    def cut(self: Monitor, metrics: dict[str, float], iteration: int) -> None:
        log(self, metrics, iteration)
        if iteration == 2:
            raise RuntimeError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(Monitor, "log", cut)
        with pytest.raises(RuntimeError, match="cut"):
            start(model, tmp_path, *given)
    folder = start(model, tmp_path, *given)
    attempts = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(attempts) == 2
    logs = {log.name for attempt in attempts for log in attempt.glob("run-*.wandb")}
    assert len(logs) == 1  # named by the run's id; folders begun in one second end otherwise
    cells = summary_of(folder)["metrics"]["sft"]
    kept: dict[str, Any] = {}
    until = time.monotonic() + 20  # W&B's own process may still be writing when ours goes on
    while "test/all/cider" not in kept and time.monotonic() < until:
        time.sleep(0.1)
        kept = summary_kept(attempts[1])
    assert kept["sft/1/accuracy"] == kept["test/1/accuracy"] == cells["1"]["accuracy"]
    assert kept["test/all/cider"] == cells["all"]["cider"]


def summary_kept(attempt: Path) -> dict[str, Any]:
    """What an offline run will put into W&B's summary."""
    record: Any = wandb_internal_pb2.__dict__["Record"]  # made while it is imported
    (path,) = attempt.glob("*.wandb")
    return {
        update.key: json.loads(update.value_json)
        for data in records(path.read_bytes())
        for update in record.FromString(data).summary.update
    }


def records(log: bytes, block: int = 2**15, header: int = 7) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, which begins with a header of W&B's own."""
    place, record = header, b""
    while place + header <= len(log):
        if block - place % block < header:
            place += block - place % block
            continue
        _, size, kind = struct.unpack_from("<IHB", log, place)
        record += log[place + header : place + header + size]
        place += header + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""
