"""Start the library's own server of chat completions: python -m tests.integration.serve_model.

``transformers serve`` builds Qwen's processor with its video part, and so asks for torchvision,
which we do not install; the processor here is the same without that part. Everything else, from
the routes to the sampling, is the library's.
"""

import sys
from pathlib import Path
from typing import Any

from transformers.cli.serve import Serve
from transformers.cli.serving.model_manager import ModelManager

from tests import library


def load_processor(manager: ModelManager, model: str, gguf_file: str | None = None) -> Any:
    return library.processor(Path(model.rpartition("@")[0]))  # the server adds a revision


def main(model: str, port: str) -> None:
    ModelManager._load_processor = load_processor
    Serve(force_model=model, device="cpu", host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
