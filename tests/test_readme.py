"""What the documentation shows is what happens: its examples are run, its tables are held against the code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest

from pytest_onnxprep import marks
from pytest_onnxprep.exporters.catalog import CATALOG
from pytest_onnxprep.plugin.options import OPTIONS
from pytest_onnxprep.spec.shape import DTYPES
from pytest_onnxprep.spec.tensor import RECIPES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Looked for, not imported: pytester forgets modules a test imports, and torch cannot be imported twice.
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    return [body for found, body in _BLOCK.findall(text) if found == language]


def section(text: str, title: str) -> str:
    """What stands below a heading of the second level."""
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def labels(message: str) -> list[str]:
    """The left column of a failure message."""
    return re.findall(r"^  (\S.*?)  +\S", message, re.MULTILINE)


@pytest.fixture
def quiet(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's empty project, away from the options and the coverage of this one."""
    for name in ("PYTEST_ADDOPTS", "COLUMNS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    pytester.makeini("[pytest]\n")
    return pytester


@needs_torch
def test_quick_start_works_as_pasted(quiet: pytest.Pytester) -> None:
    """The quick start's file and command give its eight passing items and the header of its table."""
    quick = section(README, "Quick start")
    command = next(line[2:] for block in blocks(quick, "console") for line in block.splitlines() if "pytest " in line)
    program, file, *flags = shlex.split(command)
    quiet.path.joinpath(file).write_text(blocks(quick, "python")[0], encoding="utf-8")

    result = quiet.runpytest_subprocess(file, *flags)

    assert program == "pytest"
    shown = blocks(quick, "text")[0]
    printed = [" ".join(line.split()) for line in result.outlines]
    result.assert_outcomes(passed=shown.count(" PASSED "))
    for line in shown.splitlines():
        exact = "::" in line or line.split()[:1] == ["model/test"] or line.startswith("tol is")
        # Only the figures differ from machine to machine.
        assert not exact or " ".join(line.split()) in printed, f"not printed: {line}"


@needs_torch
def test_failure_message_is_a_real_one(quiet: pytest.Pytester) -> None:
    """The example of docs/parity.md fails with the summary, the rows and the smallest input that page shows."""
    page = section(PAGES["parity.md"], "Reading a failure")
    shown = blocks(page, "text")[0]
    quiet.path.joinpath("test_gate.py").write_text(blocks(page, "python")[0], encoding="utf-8")

    result = quiet.runpytest_subprocess("test_gate.py")

    result.assert_outcomes(passed=1, failed=1)
    printed = "\n".join(result.outlines)
    message = printed[printed.index(shown.splitlines()[0]) :]
    assert labels(shown) == labels(message)[: len(labels(shown))]
    for line in shown.splitlines():
        if line.strip().startswith(("smallest input", "index", "wrong", "max |error|")):
            assert line in message


@pytest.mark.parametrize("page", sorted(PAGES))
def test_python_blocks_are_python(page: str) -> None:
    """Every Python block can be read; a bare decorator or keyword argument stands for its place in a test."""
    for block in blocks(PAGES[page], "python"):
        for candidate in (block, f"{block}\ndef test(): ...", f"dict({block})", _alternatives(block)):
            try:
                ast.parse(candidate)
                break
            except SyntaxError:
                continue
        else:
            pytest.fail(f"{page}: not Python:\n{block}")


def _alternatives(block: str) -> str:
    """Decorators or arguments that stand below each other as a choice, one statement each."""
    return "\n".join(line.lstrip("@") for line in block.splitlines())


@pytest.mark.parametrize("mark", sorted(check.mark for check in marks.CHECKS.values()))
def test_every_mark_argument_is_documented(mark: str) -> None:
    """Each argument has a row in docs/marks.md; each that is not reserved is listed in the README."""
    page = section(PAGES["marks.md"], mark)
    row = next(line for line in section(README, "Marks").splitlines() if line.startswith(f"| `{mark}`"))
    for name in inspect.signature(getattr(marks, mark)).parameters:
        rows = [line for line in page.splitlines() if re.match(rf"\|[^|]*`{name}`", line)]
        assert rows, f"docs/marks.md, {mark}: no row for {name}"
        assert f"`{name}`" in row or "reserved" in rows[0], f"README, {mark}: {name} is missing"


def test_options_table_is_complete() -> None:
    """The options table of the README has every option, its ini key and its default, and nothing else."""
    table = section(README, "Options")
    shown = dict(re.findall(r"^\| `--onnxprep-([\w-]+)(?: \w+)?` \|(.*)$", table, re.MULTILINE))

    assert set(shown) == {*OPTIONS, "no-cache", "profile"}
    for name, (_, _, default) in OPTIONS.items():
        assert f"`onnxprep_{name.replace('-', '_')}`" in shown[name]
        assert default in shown[name]


def test_no_page_invents_an_option() -> None:
    """Every option that a page names exists."""
    named = {name for text in PAGES.values() for name in re.findall(r"--onnxprep-([a-z]+(?:-[a-z]+)*)", text)}

    assert named <= {*OPTIONS, "no-cache", "profile"}


def test_exporter_table_agrees_with_the_catalog() -> None:
    """Opset ranges and defaults in the README are those of the catalog."""
    table = section(README, "Sources and exporters")
    for name, info in CATALOG.items():
        wanted = "any | any" if name == "none" else f"{info.opsets[0]} to {info.opsets[1]} | {info.default_opset}"
        assert f"| `{name}` | {wanted} |" in table


def test_tested_versions_are_the_pinned_ones() -> None:
    """Versions the README calls tested are those of constraints.txt."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    table = section(README, "Sources and exporters")
    shown = re.findall(r"\b(torch|onnxscript|transformers|tensorflow|keras|tf2onnx|onnx) (\d+\.[\d.]+\d)", table)

    assert {name for name, _ in shown} >= {"torch", "onnxscript", "transformers", "tensorflow", "keras", "tf2onnx"}
    assert [(name, version) for name, version in shown if pins[name] != version] == []


def test_shapes_page_lists_every_dtype_and_recipe() -> None:
    """docs/shapes.md names all dtypes and all value recipes."""
    missing = [name for name in [*DTYPES, *RECIPES] if f"`{name}`" not in PAGES["shapes.md"]]

    assert missing == []


def test_architecture_page_agrees_with_the_import_table() -> None:
    """Rooms and arrows of ARCHITECTURE.md are those of tests/test_architecture.py."""
    tree = ast.parse((ROOT / "tests" / "test_architecture.py").read_text(encoding="utf-8"))
    allowed = _allowed(tree)
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|$", PAGES["ARCHITECTURE.md"], re.MULTILINE)

    assert {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows} == allowed


def _allowed(tree: ast.Module) -> dict[str, set[str]]:
    node = next(n for n in tree.body if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "ALLOWED")
    assert isinstance(node.value, ast.Dict)
    return {
        ast.literal_eval(key): set() if isinstance(value, ast.Call) else ast.literal_eval(value)
        for key, value in zip(node.value.keys, node.value.values, strict=True)
        if key is not None
    }


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page: str) -> None:
    """Relative links point to files that exist."""
    folder = ROOT if (ROOT / page).exists() else ROOT / "docs"
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", PAGES[page])

    assert [target for target in targets if not (folder / target).exists()] == []
