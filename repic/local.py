"""Models that judge captions: local directories in Hugging Face's layout, never downloads."""

from pathlib import Path


def lacking(key: str, path: str | None, example: str) -> str | None:
    """Say what keeps a model from being loaded; None if nothing is seen to.

    Args:
        key: of the configuration.
        path: its value.
        example: a model on the hub that fits.
    """
    if path is None:
        return f"set {key} to a local copy of {example}"
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return f"{key}: there is no directory {folder}"
    if not (folder / "config.json").is_file():
        return f"{key}: {folder} has no config.json, so it is no model's directory"
    if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
        return f"{key}: {folder} has no weights (*.safetensors)"
    return None
