"""The mathematics of reinforcement learning with groups: tensors in, a small named result out."""
