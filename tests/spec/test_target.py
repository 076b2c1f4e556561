"""Device profiles: what is read, what is refused and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pytest_onnxprep
from pytest_onnxprep.spec.errors import SpecError
from pytest_onnxprep.spec.fits_request import read_fits
from pytest_onnxprep.spec.target import read_target
from pytest_onnxprep.spec.target_files import load_target, shipped_targets, target_names

FOLDER = Path(pytest_onnxprep.__file__).parent / "targets"

WHOLE = """
title = "a board"
[hardware]
cores = 4
memory = "512 MiB"
overcommits = false
disk = "1.5 GB"
[runtime]
provider = "cpu"
opset_max = 17
[operators]
allowed = ["Conv", "ai.onnx:Relu"]
domains = ["com.microsoft"]
accelerator = "nnapi"
accelerator_required = true
[limits]
startup = "2 s"
deadline = "33 ms"
throttles_at = "80 C"
[measured]
speed_factor = 4
sustained_factor = 1.5
how = "by hand"
"""


def test_quantities_are_read_with_their_units() -> None:
    """Bytes, milliseconds and degrees, whatever they were written in."""
    found = read_target(WHOLE, "board")

    assert (found.memory_bytes, found.disk_bytes) == (512 * 2**20, 1_500_000_000)
    assert (found.startup_ms, found.deadline_ms, found.throttles_at_c) == (2000.0, 33.0, 80.0)
    assert (found.allowed, found.domains) == (("Conv", "Relu"), ("com.microsoft",))
    assert (found.accelerator, found.accelerator_required, found.overcommits) == ("nnapi", True, False)
    assert found.time_factor == 6.0


def test_without_a_measured_factor_there_is_none() -> None:
    """Nothing is guessed from clocks and cores."""
    assert read_target("[hardware]\ncores = 4\n", "board").time_factor is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hardware]\ncore = 4\n", "board.toml:2: unknown key 'core'; did you mean 'cores'? accepted in [hardware]:"),
        ("[hardware]\n\nmemory = 512\n", "board.toml:3: [hardware] memory = 512 has no unit; accepted: a number with"),
        ('[hardware]\nmemory = "512"\n', "board.toml:2: [hardware] memory = '512' has no unit; accepted"),
        ('[hardware]\nmemory = "4 Gb"\n', "memory = '4 Gb' has the unknown unit 'Gb'; did you mean 'GB'?"),
        (
            '[limits]\ndeadline = "5 MB"\n',
            "board.toml:2: [limits] deadline = '5 MB' has the unknown unit 'MB'; accepted",
        ),
        ('[limits]\ndeadline = "soon"\n', "deadline = 'soon' is no quantity"),
        ('[limits]\ndeadline = "0 ms"\n', "must be more than nothing"),
        ("[hardware]\ncores = 2.5\n", "cores must be a whole number >= 1, not 2.5"),
        ("[hardwear]\ncores = 2\n", "board.toml:1: unknown table 'hardwear'; did you mean 'hardware'?"),
        ("cores = 2\n", "board.toml:1: unknown key 'cores'"),
        ("title = 3\n[hardware]\ncores = 2\n", "board.toml:1: title must be a text, not 3"),
        ('title = "x"\n', "says nothing of the device; accepted: [hardware]"),
        ("[hardware\n", "board.toml: Expected ']'"),
        ('[operators]\naccelerator = "npu"\n', "accelerator must be one of nnapi, coreml-neuralnetwork"),
        ("[operators]\naccelerator_required = true\n", "needs accelerator beside it"),
        ('[operators]\nforbidden = ["Co nv"]\n', "board.toml:2: [operators] forbidden: 'Co nv' is no operator name"),
        ("[measured]\nspeed_factor = -1\n", "speed_factor must be a positive number"),
        ("[measured]\nsustained_factor = 2\n", "sustained_factor needs speed_factor beside it"),
    ],
)
def test_a_wrong_profile_is_told_by_file_and_line(text: str, said: str) -> None:
    """What is wrong, where, and what is accepted."""
    with pytest.raises(SpecError) as caught:
        read_target(text, "board", "board.toml")

    assert said in str(caught.value)


def test_profiles_for_each_kind_of_device_are_shipped() -> None:
    """Two Raspberry Pis, a phone, a Jetson-class board, a gateway and a browser."""
    assert shipped_targets() == [
        "android-midrange",
        "browser-wasm",
        "jetson-orin-nano",
        "raspberry-pi-4",
        "raspberry-pi-5",
        "x86-gateway",
    ]


@pytest.mark.parametrize("name", shipped_targets())
def test_every_figure_of_a_shipped_profile_has_its_source(name: str) -> None:
    """Each key stands below a comment that says where its figure is from; none claims a measured factor."""
    found = load_target(name, [])
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"\w+ = ", line) and not line.startswith("title")]

    assert found.title
    assert found.speed_factor is None
    assert None not in (found.cores, found.memory_bytes, found.disk_bytes, found.opset_max, found.deadline_ms)
    excused = ("provider = ", "accelerator_required = ")
    bare = [lines[i] for i in keys if not lines[i - 1].startswith("#") and not lines[i].startswith(excused)]
    assert bare == []


def test_a_profile_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    """A path may start where the test file lies; the profile is then called as its file."""
    (tmp_path / "mine.toml").write_text("[hardware]\ncores = 3\n")

    found = load_target("mine.toml", [tmp_path / "elsewhere", tmp_path])

    assert (found.name, found.cores) == ("mine", 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raspberry-pi-3", "unknown target 'raspberry-pi-3'; did you mean 'raspberry-pi-"),
        ("nowhere.toml", "target file 'nowhere.toml' does not exist (looked for"),
    ],
)
def test_a_profile_that_is_not_there_is_said(name: str, said: str) -> None:
    """With the names that are."""
    with pytest.raises(SpecError) as caught:
        load_target(name, [Path("/nonexistent")])

    assert said in str(caught.value)
    assert "android-midrange" in str(caught.value)


@pytest.mark.parametrize("value", [3, [], [""], ["a", "a"], {"a": 1}])
def test_targets_are_names_or_paths(value: object) -> None:
    """A list makes an item each, so that nothing may occur twice."""
    with pytest.raises(SpecError, match="target"):
        target_names(value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"at": 3}, "at must map dims to sizes"),
        ({"at": {"batch": -1}}, "at: batch must be a size"),
        ({"speed_factor": "4"}, "speed_factor must be a positive number"),
        ({"target": 4}, "target must be a device profile, not 4"),
    ],
)
def test_arguments_of_fits_are_checked(arguments: dict, said: str) -> None:
    """Each wrong one is named, with what is accepted."""
    with pytest.raises(SpecError, match=re.escape(said)):
        read_fits(**arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[operators]\nallowed = " + "[" * 20_000, "recursion"),
        ('[hardware]\nmemory = "' + "9" * 400 + ' GB"', "t.toml:2: [hardware] memory is beyond what any device has"),
        ("[hardware]\ncores = " + "9" * 5000, "5000 digits"),
        ("[measured]\nspeed_factor = 1" + "0" * 400, "t.toml:2: [measured] speed_factor is beyond"),
        ("[[hardware]]\ncores = 4", "'hardware' must be one table, [hardware], not list"),
    ],
)
def test_absurd_profiles(text: str, said: str) -> None:
    """They are wrong marks of one test, like any other."""
    with pytest.raises(SpecError, match=re.escape(said)):
        read_target(text, "t", "t.toml")
