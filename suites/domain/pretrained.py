"""Where pretrained models lie in the packages that ship them; none of these packages is imported."""

import importlib.metadata
from pathlib import Path


def shipped(package, ending):
    """The files of an installed distribution with this ending, by name."""
    files = importlib.metadata.files(package) or []
    return {Path(file).name: Path(file.locate()) for file in files if str(file).endswith(ending)}


def shipped_file(package, name):
    """The path of one of them."""
    (path,) = (Path(file.locate()) for file in importlib.metadata.files(package) if str(file).endswith(name))
    return path
