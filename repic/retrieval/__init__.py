"""Evaluation without being told who is there: references are found by how they look.

Picture → boxes (a proposer) → crops → vectors (an embedder) → the nearest pictures of an album.
RePIC, https://arxiv.org/abs/2506.18369, section 4, after RAP, https://arxiv.org/abs/2410.13360.
"""
