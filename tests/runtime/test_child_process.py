"""Fresh processes: what they cost, what they hold, and how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_onnxprep.errors import OnnxPrepError
from pytest_onnxprep.runtime import child_main, child_process
from pytest_onnxprep.runtime.child_limits import CgroupCap, Limits
from pytest_onnxprep.runtime.child_measure import Outcome
from pytest_onnxprep.runtime.child_process import run_child
from pytest_onnxprep.runtime.session import make_session

MB = 1_000_000


def write(path: Path, nodes: list, inputs: list, outputs: list, weights: list = ()) -> Path:
    """Write a model of a few nodes."""
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, list(weights))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def blow_up(tmp_path_factory) -> Path:
    """``x`` of ``[n]`` becomes ``[n, 1000]`` and is summed: memory follows ``n``."""
    one = numpy_helper.from_array(np.array([1, 1000], "int64"), "repeats")
    nodes = [
        helper.make_node("Unsqueeze", ["x", "axis"], ["column"]),
        helper.make_node("Tile", ["column", "repeats"], ["wide"]),
        helper.make_node("Exp", ["wide"], ["exp"]),
        helper.make_node("ReduceSum", ["exp"], ["y"], keepdims=0),
    ]
    axis = numpy_helper.from_array(np.array([1], "int64"), "axis")
    info = helper.make_tensor_value_info
    return write(
        tmp_path_factory.mktemp("models") / "blow_up.onnx",
        nodes,
        [info("x", TensorProto.FLOAT, ["n"])],
        [info("y", TensorProto.FLOAT, [])],
        [one, axis],
    )


@pytest.fixture(scope="module")
def endless(tmp_path_factory) -> Path:
    """A loop that never ends."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Sin", ["v"], ["v_out"])],
        "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [])],
        [info("c_out", TensorProto.BOOL, []), info("v_out", TensorProto.FLOAT, [])],
    )
    true = numpy_helper.from_array(np.array(True), "true")
    return write(
        tmp_path_factory.mktemp("models") / "endless.onnx",
        [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
        [info("x", TensorProto.FLOAT, [])],
        [info("y", TensorProto.FLOAT, [])],
        [true],
    )


def feeds(size: int) -> dict[str, np.ndarray]:
    """Inputs of ``blow_up``."""
    return {"x": np.zeros(size, "float32")}


def test_child_tells_every_figure(blow_up):
    """One child gives times, memory, threads and the versions, and all of them hang together."""
    found = run_child(blow_up, feeds(10_000), runs=3)

    assert (found.outcome, found.message, found.stage) == (Outcome.OK, "", "done")
    assert 20 * MB < found.baseline.resident <= found.loaded.resident <= found.steady.peak
    assert found.own_bytes > 2 * 10_000 * 1000 * 4  # Tile's and Exp's results live at the same time
    assert found.import_s > 0
    assert found.load.wall_s > 0
    assert found.first_run.wall_s > 0
    (timing,) = found.timings
    assert len(timing.samples_s) == 3
    assert sum(timing.samples_s) <= timing.span.wall_s
    assert timing.span.cpu_s > 0
    assert found.threads >= 1
    assert found.provider == "CPUExecutionProvider"
    assert found.arena_bytes is None


def test_child_holds_onnx_runtime_only(blow_up):
    """No framework, no pytest, no coverage: the child's own list of what it has imported says so."""
    found = run_child(blow_up, feeds(10), runs=1)

    assert set(found.modules) <= {"numpy", "onnxruntime", "ml_dtypes"}
    assert {"numpy", "onnxruntime"} <= set(found.modules)


def test_parent_does_not_show(blow_up):
    """What the parent holds is no part of the child's peak, which the kernel's ru_maxrss would make it."""
    small = run_child(blow_up, feeds(10), runs=1).peak_bytes
    ballast = np.ones(50_000_000)  # 400 MB

    large = run_child(blow_up, feeds(10), runs=1).peak_bytes

    assert ballast.sum() > 0
    assert large < small + 20 * MB


def test_more_memory_shows(blow_up):
    """Peak and the arena follow what the model allocates."""
    small, large = (run_child(blow_up, feeds(size), runs=1, arena=True) for size in (1_000, 20_000))

    assert large.own_bytes - small.own_bytes > 100 * MB
    assert small.arena_bytes < large.arena_bytes
    assert 150 * MB < large.arena_bytes < 2 * large.own_bytes


def test_threads_are_counted(blow_up):
    """A pool of three is the caller and two threads more."""
    one, three = (run_child(blow_up, feeds(10), runs=1, threads=threads) for threads in (1, 3))

    assert three.threads - three.threads_before == 2 + one.threads - one.threads_before


def test_further_inputs_are_timed_one_after_the_other(blow_up):
    """Each further set of inputs has its own timing, in order."""
    found = run_child(blow_up, feeds(10), runs=2, more_feeds=[feeds(20), feeds(30_000)], min_time_s=0.01)

    assert len(found.timings) == 3
    assert all(len(timing.samples_s) >= 2 and timing.span.wall_s >= 0.01 for timing in found.timings)
    assert min(found.timings[2].samples_s) > min(found.timings[0].samples_s)


@pytest.mark.parametrize("enforce", ["resident", "data", "address_space"])
def test_a_cap_that_does_not_suffice_is_out_of_memory(blow_up, enforce):
    """The model whose two tensors are 160 MB does not run in 100 MB, and the message says where and under what."""
    found = run_child(blow_up, feeds(20_000), runs=1, limits=Limits(100 * MB, enforce))

    assert found.outcome is Outcome.OUT_OF_MEMORY
    assert "running the model" in found.message
    assert "under a cap of 100 MB (" in found.message
    assert found.load is not None


@pytest.mark.parametrize("enforce", ["resident", "data", "address_space"])
def test_a_cap_that_suffices_changes_nothing(blow_up, enforce):
    """The same model runs in 1 GB, on two threads."""
    found = run_child(blow_up, feeds(20_000), runs=1, threads=2, limits=Limits(1000 * MB, enforce, nice=1))

    assert found.ok, found.message


def test_a_cap_of_what_is_resident_counts_what_is_touched(blow_up):
    """What the arena reserves and does not touch is nobody's loss: under a cap just above its peak the model runs."""
    peak = run_child(blow_up, feeds(20_000), runs=1).peak_bytes

    assert run_child(blow_up, feeds(20_000), runs=1, limits=Limits(peak + 10 * MB)).ok
    found = run_child(blow_up, feeds(20_000), runs=1, limits=Limits(peak - 10 * MB))
    assert found.outcome is Outcome.OUT_OF_MEMORY
    assert "it held" in found.message


def test_a_cap_below_the_runtime_itself(blow_up):
    """Where ONNX Runtime alone does not fit, that is said, not that the model failed."""
    found = run_child(blow_up, feeds(10), limits=Limits(10 * MB, "data"))

    assert found.outcome is Outcome.OUT_OF_MEMORY
    assert "ONNX Runtime, NumPy and the inputs alone hold" in found.message


def test_a_model_that_hangs_is_ended(endless):
    """A loop without end is killed when its time is over, and leaves what was known before."""
    found = run_child(endless, {"x": np.float32(1)}, timeout_s=5)

    assert found.outcome is Outcome.TIMED_OUT
    assert "did not finish within 5 s" in found.message
    assert found.load is not None or found.stage in ("start", "import", "load")
    assert found.timings == ()


def test_a_child_ends_itself(endless, monkeypatch):
    """Should nobody be there to end it, a child that hangs does not stay for ever."""
    monkeypatch.setattr(child_process, "_GRACE_S", -58)

    found = run_child(endless, {"x": np.float32(1)}, timeout_s=60)

    assert found.outcome is Outcome.ABORTED
    assert "SIGALRM" in found.message


def test_a_broken_file_is_refused(tmp_path):
    """ONNX Runtime's own words come back."""
    (tmp_path / "broken.onnx").write_bytes(b"no model")

    found = run_child(tmp_path / "broken.onnx", {})

    assert found.outcome is Outcome.REFUSED
    assert "while loading the model" in found.message
    assert found.load is None


def test_wrong_inputs_are_refused(blow_up):
    """Inputs the model does not have are named."""
    found = run_child(blow_up, {"z": np.zeros(1, "float32")})

    assert found.outcome is Outcome.REFUSED
    assert "'x'" in found.message


@pytest.mark.parametrize(
    ("number", "outcome", "word"),
    [(9, Outcome.KILLED, "SIGKILL"), (6, Outcome.ABORTED, "SIGABRT"), (11, Outcome.ABORTED, "SIGSEGV")],
)
def test_a_child_that_dies_says_how(blow_up, monkeypatch, tmp_path, number, outcome, word):
    """A signal in native code is told from one from outside; the parent lives on."""
    script = tmp_path / "child.py"
    source = Path(child_main.__file__).read_text()
    assert "        runs[0]()\n" in source
    # Python's ctypes-free way to die of a signal in the middle of the first run
    dying = f"        os.kill(os.getpid(), {number})\n"
    script.write_text(source.replace("        runs[0]()\n", dying))
    monkeypatch.setattr(child_main, "__file__", str(script))

    found = run_child(blow_up, feeds(10))

    assert found.outcome is outcome
    assert word in found.message
    assert "running the model for the first time" in found.message
    assert found.load is not None


def test_several_files_are_one_run(blow_up):
    """All are loaded; what is timed are all calls in order, and memory follows the largest of them."""
    once = run_child([blow_up, blow_up], [(0, feeds(10))], runs=1, arena=True)
    often = run_child([blow_up, blow_up], [(0, feeds(10)), (1, feeds(20_000)), (0, feeds(10))], runs=2, arena=True)

    assert once.ok
    assert often.ok
    assert len(often.timings[0].samples_s) == 2
    assert often.own_bytes > once.own_bytes + 80 * MB
    assert often.arena_bytes > once.arena_bytes


def test_an_array_that_goes_to_several_calls_is_held_once(tmp_path):
    """The members of an ensemble take the same input, the steps of a loop the same encoding."""
    shared, own = np.ones(100_000, "float32"), np.zeros(3, "float32")
    sets = child_process._save(tmp_path / "feeds.npz", [[(0, {"a": shared}), (1, {"b": shared, "c": own})]])

    assert sets == [[(0, {"a": "t0"}), (1, {"b": "t0", "c": "t1"})]]
    assert (tmp_path / "feeds.npz").stat().st_size < 1.2 * shared.nbytes


def test_text_inputs_reach_the_child(tmp_path):
    """Strings go through the file without pickle."""
    info = helper.make_tensor_value_info
    path = write(
        tmp_path / "text.onnx",
        [helper.make_node("Identity", ["s"], ["t"])],
        [info("s", TensorProto.STRING, [None])],
        [info("t", TensorProto.STRING, [None])],
    )

    assert run_child(path, {"s": np.array(["a", "bc"], dtype=object)}, runs=1).ok


def test_names_no_file_could_hold(tmp_path):
    """An input may be called what it likes."""
    info = helper.make_tensor_value_info
    path = write(
        tmp_path / "name.onnx",
        [helper.make_node("Relu", ["a/b:0"], ["y"])],
        [info("a/b:0", TensorProto.FLOAT, [None])],
        [info("y", TensorProto.FLOAT, [None])],
    )

    assert run_child(path, {"a/b:0": np.zeros(3, "float32")}, runs=1).ok


def test_pinned_cores_are_checked_and_obeyed(blow_up):
    """A CPU that is not there is an error with those that are; one that is there is used."""
    usable = sorted(os.sched_getaffinity(0))
    with pytest.raises(OnnxPrepError, match=r"pinned_cores must name CPUs .*not \[4096\]"):
        run_child(blow_up, feeds(10), pinned_cores=[4096])

    found = run_child(blow_up, feeds(20_000), runs=2, threads=2, pinned_cores=usable[:1])

    assert found.ok
    assert found.timings[0].span.cores_used < 1.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"memory_bytes": 0}, "memory_bytes must be a positive whole number"),
        ({"enforce": "rss"}, "enforce must be one of resident, data, address_space, cgroup"),
        ({"enforce": "cgroup"}, "needs cgroup="),
        ({"nice": -5}, "nice must lie in 0..19"),
    ],
)
def test_limits_are_checked(arguments, message):
    """Limits no kernel would take say what is accepted."""
    with pytest.raises(OnnxPrepError, match=message):
        Limits(**arguments)


def test_a_folder_that_is_no_cgroup_is_an_error(tmp_path):
    """A plain folder has no memory controller."""
    with pytest.raises(OnnxPrepError, match=r"no cgroup can be made below .* memory controller is not enabled"):
        CgroupCap(Limits(MB, "cgroup", tmp_path)).__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif("ONNXPREP_CGROUP" not in os.environ, reason="needs a delegated cgroup in ONNXPREP_CGROUP")
def test_a_cgroup_caps_what_is_resident(blow_up):
    """The kernel ends a child that holds more than its group may; the group is gone afterwards."""
    folder = Path(os.environ["ONNXPREP_CGROUP"])

    found = run_child(blow_up, feeds(20_000), limits=Limits(100 * MB, "cgroup", folder))

    assert found.outcome is Outcome.OUT_OF_MEMORY
    assert not list(folder.glob("onnxprep-*"))


def test_session_is_made_as_everywhere_else(blow_up):
    """The child stands alone; its session options are those of `make_session`."""
    import onnxruntime

    request = {"threads": 2, "profile": "", "custom_ops": [], "provider": "CPUExecutionProvider"}
    request["models"] = [str(blow_up)]
    ours, theirs = (
        session.get_session_options()
        for session in (child_main._session(onnxruntime, request, 0), make_session(blow_up, threads=2))
    )

    plain = [name for name in dir(ours) if not name.startswith("_") and not callable(getattr(ours, name))]
    assert "intra_op_num_threads" in plain
    assert {name: getattr(ours, name) for name in plain} == {name: getattr(theirs, name) for name in plain}
    spinning = "session.intra_op.allow_spinning"
    assert ours.get_session_config_entry(spinning) == theirs.get_session_config_entry(spinning)


def zone(folder: Path, name: str, energy: str, most: str = "1000000") -> Path:
    """A powercap zone as the kernel shows it."""
    (folder / name).mkdir()
    (folder / name / "energy_uj").write_text(energy)
    (folder / name / "max_energy_range_uj").write_text(most)
    return folder / name / "energy_uj"


def test_energy_is_that_of_the_packages(tmp_path):
    """Parts of a package are not counted twice, and a counter may wrap."""
    package = zone(tmp_path, "intel-rapl:0", "999000\n")
    other = zone(tmp_path, "intel-rapl:1", "5\n")
    zone(tmp_path, "intel-rapl:0:0", "7\n")
    energy = child_main.Energy(str(tmp_path))
    before = energy.read()
    package.write_text("1000\n")
    other.write_text("500005\n")

    assert before == [999000, 5]
    assert energy.between(before, energy.read()) == pytest.approx(0.502)


def test_energy_is_never_invented(tmp_path):
    """No counters, unreadable ones, or none any more: None."""
    assert child_main.Energy(str(tmp_path / "missing")).read() is None
    package = zone(tmp_path, "intel-rapl:0", "soon\n")
    assert child_main.Energy(str(tmp_path)).read() is None
    package.write_text("5")
    energy = child_main.Energy(str(tmp_path))
    before = energy.read()
    package.unlink()
    assert energy.between(before, energy.read()) is None


def test_script_needs_nothing_of_ours(blow_up, tmp_path):
    """The child runs as a bare script beside no package at all."""
    script = tmp_path / "child_main.py"
    script.write_text(Path(child_main.__file__).read_text())
    done = subprocess.run([sys.executable, "-I", "-S", str(script)], capture_output=True, text=True, check=False)

    assert "IndexError" in done.stderr  # it asks for its arguments, and has imported all it needs to get there


def test_arena_of_other_versions_is_unknown(tmp_path):
    """A profile without figures of memory gives none."""
    trace = tmp_path / "trace.json"
    trace.write_text(json.dumps([{"name": "node", "args": {"op_name": "Relu"}}, {"name": "session"}]))

    assert child_main.arena_held(str(trace)) is None
