"""Post-train vision-language models to name your own beings: SFT, then RL with group rollouts."""

__version__ = "0.1.0"
