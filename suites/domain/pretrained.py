"""Where pretrained models lie in the packages that ship them; none of these packages is imported."""

import importlib.metadata
from pathlib import Path


def shipped(package, ending, count):
    """The files of an installed distribution with this ending, by name.

    A wheel without them would leave a parametrised test without items, which pytest skips.
    """
    files = importlib.metadata.files(package) or []
    found = {Path(file).name: Path(file.locate()) for file in files if str(file).endswith(ending)}
    version = importlib.metadata.version(package)
    assert len(found) == count, f"{package} {version} ships {len(found)} files *{ending}, not {count}: {sorted(found)}"
    return found


def shipped_file(package, name):
    """The path of one of them."""
    (path,) = (Path(file.locate()) for file in importlib.metadata.files(package) if str(file).endswith(name))
    return path
