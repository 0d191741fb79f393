from pathlib import Path

from repic.phases.loggers import close, log_settings, wandb_logger


def test_wandb_tells_the_jobs_of_a_sweep_apart(tmp_path: Path) -> None:
    where = {"project": "p", "group": "g", "mode": "offline"}
    logger = wandb_logger(tmp_path / "kl-low" / "seed_1", name=None, **where)
    assert logger.name == "p"
    assert logger._wandb_init["name"] == "kl-low/seed_1"
    log_settings(logger, {"kl": {"coef": 0.01}, "seed": 1})
    assert logger.experiment.config["kl"] == {"coef": 0.01}
    assert logger.experiment.config["seed"] == 1
    close(logger)
    named = wandb_logger(tmp_path / "a", name="mine", **where)
    assert named._wandb_init["name"] == "mine"
