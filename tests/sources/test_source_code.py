"""The digest of the user's code: whatever can change a model changes it, nothing else does, in any process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import types
import zipfile
from pathlib import Path

import pytest

from pytest_onnxprep.sources import source_code
from pytest_onnxprep.sources.source_code import code_digest

REPOSITORY = Path(__file__).resolve().parents[2]

PROJECT = {
    "app/__init__.py": "VERSION = 1\n",
    "app/model.py": """
        import functools
        import json
        import logging
        from app import layers
        from app.layers import Block

        SCALE = 2.0
        NAMES = {"relu", "gelu", "tanh", "silu"}
        log = logging.getLogger(__name__)

        class Net:
            width = 8
            def __init__(self, depth=2):
                self.blocks = [Block() for _ in range(depth)]
            def forward(self, x):
                from . import late
                return late.finish(x * SCALE) if str(x) in NAMES else layers.identity(x)

        def build(depth=2, *, wide=False):
            log.info("building")
            return Net(depth)

        def make_builder(count):
            def builder():
                return Net(count)
            return builder

        built = make_builder(3)

        @functools.lru_cache(maxsize=None)
        def cached():
            return Net()

        def logged(function):
            @functools.wraps(function)
            def wrapper(*args):
                return function(*args)
            return wrapper

        @logged
        def wrapped():
            return Net()
    """,
    "app/layers.py": """
        class Base:
            def run(self, x):
                return x
        class Block(Base):
            bias = 1
        def identity(x):
            return x
    """,
    "app/late.py": """
        from .deep.constants import OFFSET
        def finish(x):
            return x + OFFSET
    """,
    "app/deep/constants.py": "OFFSET = 1\n",  # `deep` is a namespace package
    "app/unrelated.py": "OTHER = 1\n",
    "script.py": """
        import importlib
        def build():
            import sibling
            return sibling.make, importlib.import_module("plugged")
    """,
    "sibling.py": "def make():\n    return 1\n",
    "plugged.py": "VALUE = 1\n",
}

_RUN = """
import sys
sys.path[:0] = [{folder!r}, {repository!r}]
{setup}
from pytest_onnxprep.sources.source_code import code_digest
found = code_digest([{root}])
print(found.hexdigest, found.stable)
"""


@pytest.fixture
def project(tmp_path):
    """A small package and a script, written out afresh."""
    folder = tmp_path / "project"
    for name, text in PROJECT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def digest(folder: Path, root: str = "app.model.build", setup: str = "import app.model", seed: str = "0") -> str:
    """The digest as a fresh process gives it; it must be stable there."""
    found, stable = digest_and_stable(folder, root, setup, seed)
    assert stable
    return found


def digest_and_stable(folder: Path, root: str, setup: str, seed: str = "0") -> tuple[str, bool]:
    """The digest of ``root`` in a fresh process that has run ``setup``, and whether it is stable."""
    script = _RUN.format(folder=str(folder), repository=str(REPOSITORY), setup=textwrap.dedent(setup), root=root)
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=folder.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    hexdigest, stable = done.stdout.split()
    return hexdigest, stable == "True"


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace text that must be there."""
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_processes_agree(project):
    """Hash seeds, the folder's absolute path and the order of events in a process make no difference."""
    elsewhere = project.parent / "somewhere" / "else"
    shutil.copytree(project, elsewhere)
    called = "import app.model; app.model.cached(); app.model.Net().forward(1)"

    found = {
        digest(project),
        digest(project, seed="1"),
        digest(project, seed="42"),
        digest(elsewhere),
        digest(project, setup="import app.model, app.late, app.unrelated"),
        digest(project, setup=called),
    }

    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("app/model.py", "x * SCALE", "x + SCALE"),
        ("app/model.py", "SCALE = 2.0", "SCALE = 3.0"),
        ("app/model.py", "depth=2, *", "depth=3, *"),
        ("app/model.py", "wide=False", "wide=True"),
        ("app/model.py", "width = 8", "width = 9"),
        ("app/model.py", '"silu"', '"mish"'),
        ("app/layers.py", "bias = 1", "bias = 2"),
        ("app/layers.py", "return x\n", "return -x\n"),
        ("app/late.py", "x + OFFSET", "x - OFFSET"),
        ("app/deep/constants.py", "1", "2"),
        ("app/__init__.py", "1", "2"),
    ],
)
def test_an_edit_that_can_change_the_model_changes_the_digest(project, name, old, new):
    """Bodies, constants, defaults, class attributes, base classes, and files imported inside functions all count."""
    before = digest(project)
    edit(project, name, old, new)

    assert digest(project) != before


def test_an_unrelated_file_changes_nothing(project):
    """A file that nothing imports, changed or new, keeps the digest."""
    before = digest(project)
    edit(project, "app/unrelated.py", "1", "2")
    (project / "app" / "new.py").write_text("import app.unrelated\n")
    (project / "another.py").write_text("")

    assert digest(project) == before


@pytest.mark.parametrize("name", ["sibling.py", "plugged.py"])
def test_modules_beside_a_script(project, name):
    """A module found beside the file, or named in `import_module`, counts although it is not loaded."""
    before = digest(project, "script.build", "import script")
    edit(project, name, "1", "2")

    assert digest(project, "script.build", "import script") != before


@pytest.mark.parametrize(
    "patch",
    [
        "app.model.Net.forward = lambda self, x: x",
        "app.layers.Base.run = lambda self, x: -x",
        "app.model.SCALE = 5.0",
        "app.model.Net.width = 100",
        "app.layers.identity = lambda x: -x",
        "app.model.build.__defaults__ = (7,)",
        "app.model.build.__kwdefaults__ = {'wide': 7}",
        "import app.late; app.late.finish = lambda x: x",
        "import types; app.late = types.ModuleType('late')",
        "import json.encoder; json.dumps = lambda x: 1; app.model.layers.identity = json.dumps",
    ],
)
def test_a_patch_changes_the_digest(project, patch):
    """What a test replaced at run time counts although no file changed."""
    assert digest(project, setup=f"import app.model\n{patch}") != digest(project)


def test_a_patched_package_changes_the_digest(project):
    """A function put into somebody else's class or module by the user counts where user code mentions it."""
    (project / "uses.py").write_text("import textwrap, string\ndef build():\n    return textwrap.dedent('')\n")
    (project / "kind.py").write_text("import string\nclass Mine(string.Template):\n    pass\n")
    plain = digest(project, "uses.build", "import uses"), digest(project, "kind.Mine", "import kind")

    patched = (
        digest(project, "uses.build", "import uses, textwrap; textwrap.dedent = lambda text: text"),
        digest(project, "kind.Mine", "import kind, string; string.Template.substitute = lambda self: 1"),
    )

    assert plain[0] != patched[0]
    assert plain[1] != patched[1]


def test_closures_and_partials(project):
    """A closure counts by what it closes over, a partial by its arguments, and equal ones are equal."""
    setup = "import app.model, functools"
    roots = [
        "app.model.built",
        "app.model.make_builder(4)",
        "functools.partial(app.model.build, 3)",
        "functools.partial(app.model.build, 4)",
        "functools.partial(app.model.build, depth=4)",
    ]

    found = [digest(project, root, setup) for root in roots]

    assert len(set(found)) == len(roots)
    assert digest(project, "app.model.make_builder(3)", setup) == found[0]


def test_what_stands_behind_decorators(project):
    """Cached and wrapped functions count with the function they wrap."""
    (project / "decorated.py").write_text(
        "import functools\n@functools.lru_cache\ndef cached():\n    return 1\n"
        "def plain():\n    return 1\nheld = functools.singledispatch(plain)\n"
    )
    change = "import decorated\ndecorated.{}.__wrapped__.__code__ = (lambda: 2).__code__"

    for name in ("cached", "held"):
        root = f"decorated.{name}"
        assert digest(project, root, "import decorated") != digest(project, root, change.format(name))


def test_code_without_a_file_is_described_live(project):
    """A function typed into an interpreter is stable and counts by its code and the globals it uses."""
    text = "SCALE = {scale}\nclass Net:\n    def forward(self, x): return x * SCALE + {term}\nbuild = lambda: Net()"

    found = [
        digest(project, "build", text.format(scale=scale, term=term))
        for scale, term in [(1, 1), (1, 1), (2, 1), (1, 2)]
    ]

    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_code_in_a_zip(project):
    """Modules imported from a zip file are read through their loader."""

    def zipped(text: str) -> str:
        with zipfile.ZipFile(project / "code.zip", "w") as archive:
            archive.writestr("inside.py", text)
        setup = f"sys.path.insert(0, {str(project / 'code.zip')!r}); import inside"
        return digest(project, "inside.build", setup)

    first = zipped("import json\nX = 1\ndef build():\n    return 1\n")

    assert zipped("import json\nX = 1\ndef build():\n    return 1\n") == first
    assert zipped("import json\nX = 2\ndef build():\n    return 1\n") != first


@pytest.mark.parametrize("thing", ["open('/dev/null')", "(i for i in ())", "__import__('socket').socket()"])
def test_what_cannot_be_described_is_unstable(project, thing):
    """An open file, a generator or a socket makes the digest unlike that of any other process."""
    setup = f"thing = {thing}\ndef build():\n    return thing"

    first, second = (digest_and_stable(project, "build", setup) for _ in range(2))

    assert (first[1], second[1]) == (False, False)
    assert first[0] != second[0]


def test_a_file_that_is_no_python_is_unstable(project):
    """Where the imports of a file cannot be read, the digest does not claim to know them."""
    (project / "odd.py").write_text("def build():\n    import broken\n")
    (project / "broken.py").write_text("print 'Python 2'\n")

    _, stable = digest_and_stable(project, "odd.build", "import odd")

    assert stable is False


def test_third_party_packages_count_by_their_version(project):
    """A package in site-packages is named with its version and not read."""
    site = project.parent / "site-packages"
    (site / "vendor").mkdir(parents=True)
    (site / "vendor" / "__init__.py").write_text("def layer(x):\n    return x\n")
    info = site / "vendor_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-dist\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("vendor\n")
    (project / "uses.py").write_text("from vendor import layer\ndef build():\n    return layer(1)\n")
    setup = f"sys.path.insert(0, {str(site)!r}); import uses"

    before = digest(project, "uses.build", setup)
    (site / "vendor" / "__init__.py").write_text("def layer(x):\n    return -x\n")
    same_version = digest(project, "uses.build", setup)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-dist\nVersion: 1.1\n")
    new_version = digest(project, "uses.build", setup)

    assert same_version == before
    assert new_version != before


def test_sets_of_roots_have_no_order():
    """Roots in a set are digested regardless of its order; roots in a list in theirs."""
    assert code_digest({dict, list, Path}) == code_digest({Path, list, dict})
    assert code_digest([dict, list]) != code_digest([list, dict])


def test_cycles_end():
    """Functions and classes that refer to themselves and each other are walked once."""

    class Loop:
        def back(self):
            return Loop

    Loop.own = Loop
    Loop.items = [Loop]
    Loop.items.append(Loop.items)

    assert code_digest([Loop]) == code_digest([Loop])
    assert code_digest([Loop]).stable


def test_a_module_as_a_root():
    """A module counts by its file and the files it imports."""
    assert code_digest([source_code]) != code_digest([types])


def test_objects_that_raise_when_looked_at_are_unstable():
    """A hostile attribute never breaks a run; it only costs the cache."""

    class Hostile:
        def __reduce_ex__(self, protocol):
            raise RuntimeError("no")

        @property
        def __dict__(self):
            raise RuntimeError("no")

    hostile = Hostile()
    found = code_digest([lambda: hostile])

    assert not found.stable


def test_generated_classes_count_by_their_code():
    """A class that a package makes at run time (torch.fx) is not mistaken for the package's own."""
    torch = pytest.importorskip("torch")

    class Add(torch.nn.Module):
        def forward(self, x):
            return x + 1

    class Subtract(torch.nn.Module):
        def forward(self, x):
            return x - 1

    first, second = (type(torch.fx.symbolic_trace(kind())) for kind in (Add, Subtract))

    assert code_digest([first]) != code_digest([second])


def test_a_typical_torch_model_is_quick(count_calls):
    """Torch itself is not descended into: a few thousand calls are plenty once it is imported."""
    torch = pytest.importorskip("torch")
    roots = [torch.nn.Linear, torch.nn.TransformerEncoder, torch.nn.functional.gelu, torch.no_grad()(lambda: 1)]
    code_digest(roots)  # reads this file and the versions

    assert count_calls(lambda: code_digest(roots)) < 20_000
    assert code_digest(roots).stable
