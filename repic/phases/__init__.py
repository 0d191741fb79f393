"""The stages of a method: supervised fine-tuning, reinforcement learning, evaluation."""
