"""Check items behave like pytest's own: --lf, -x, JUnit XML, user fixtures, classes, switching us off."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

TWO = """
@onnx_export(build, inputs=X, exporter="torchscript", opset=[15, 17])
@parity(max_examples=3)
@latency_budget(p95_ms=500, max_time_s=5)
@size_budget(mb={mb})
def test_x(onnx_model):
    pathlib.Path("ran").open("a").write("body\\n")
"""

COUNTED = """
from models import Net

def counted():
    with open(os.environ["COUNT_FILE"], "a") as file:
        file.write("built\\n")
    torch.manual_seed(0)
    return Net().eval()

"""


# selection and stopping -----------------------------------------------------------------------------------------------


def test_last_failed_runs_the_failed_checks_again(story):
    """--lf selects exactly the items that failed."""
    story.write(TWO.format(mb=1e-6))
    flags = ["-m", "not latency_budget", "-p", "cacheprovider"]
    first = story.pytester.runpytest_inprocess(*flags, f"--onnxprep-cache={story.cache}")
    again = story.pytester.runpytest_inprocess(*flags, "--lf", f"--onnxprep-cache={story.cache}", "-v")

    first.assert_outcomes(passed=4, failed=2, deselected=2)
    again.assert_outcomes(failed=2)
    again.stdout.fnmatch_lines(["*test_x[[]torchscript-opset15-size[]] FAILED*"])


def test_x_stops_at_the_first_finding(story):
    """-x ends the run after the first failing check."""
    outcome = story(TWO.format(mb=1e-6), "-x", "-m", "not latency_budget")

    assert list(outcome.verdicts.values()) == ["pass", "pass", "fail"]
    assert outcome.result.ret == pytest.ExitCode.TESTS_FAILED


def test_x_stops_at_the_first_error(story):
    """-x counts a broken test too."""
    outcome = story("@onnx_export(lambda: 42, inputs=X)\ndef test_a(onnx_model): pass\n" + TWO.format(mb=1), "-x")

    assert list(outcome.verdicts.values()) == ["error"]


def test_a_node_id_selects_one_check(story):
    """An id from the report can be pasted on the command line."""
    outcome = story(TWO.format(mb=1))
    nodeid = next(r["nodeid"] for r in outcome.records.values() if r["check"] == "parity")

    assert list(story.run(nodeid).verdicts.values()) == ["pass"]


def test_only_the_export_item_runs_the_body(story):
    """The body runs once per variant, not once per check."""
    story(TWO.format(mb=1), "-m", "not latency_budget")

    assert (story.path / "ran").read_text() == "body\n" * 2


def test_the_body_does_not_run_without_a_valid_export(story):
    """A broken contract fails before the body."""
    outcome = story(
        "@onnx_export(build, inputs=X, outputs={'y': 'float32[batch, 9]'}, exporter='torchscript', opset=17)\n"
        "def test_x(onnx_model): pathlib.Path('ran').write_text('')"
    )

    assert outcome.counts() == {"fail": 1}
    assert "contract broken" in outcome.one("export")["summary"]
    assert not (story.path / "ran").exists()


def test_the_model_is_built_once_for_all_its_checks(story, monkeypatch):
    """Eight checks of two variants call the factory once."""
    count = story.path / "count"
    monkeypatch.setenv("COUNT_FILE", str(count))
    story(COUNTED + TWO.format(mb=1).replace("build,", "counted,"), "-m", "not latency_budget")

    assert count.read_text() == "built\n"


# reports of pytest's own ----------------------------------------------------------------------------------------------


def test_junit_xml(story):
    """Every check is a test case; findings carry their message; the verdict is a property."""
    story(TWO.format(mb=1e-6) + "\n    raise OSError('broken body')\n", "--junitxml=out.xml", "-m", "not parity")
    cases = {case.get("name"): case for case in ElementTree.parse(story.path / "out.xml").iter("testcase")}
    size = cases["test_x[torchscript-opset17-size]"]
    properties = {one.get("name"): one.get("value") for one in size.iter("property")}

    assert len(cases) == 6
    assert "over the budget" in size.find("failure").get("message")
    assert properties["onnxprep_verdict"] == "fail"
    assert "over the budget" in properties["onnxprep_summary"]
    assert cases["test_x[torchscript-opset17-latency]"].find("failure") is None


def test_the_terminal_summary_names_what_failed(story):
    """The table has a row per variant, and a line per finding."""
    text = story(TWO.format(mb=1e-6), "-m", "not latency_budget").text
    summary = text[text.index("= onnxprep =") :]

    assert summary.count("torchscript 15") == 1 or "torchscript 15" in summary
    assert "fail: size of test_x" in summary
    assert "over the budget" in summary


def test_nothing_is_printed_when_nothing_was_checked(story):
    """A run without our marks has no section of ours."""
    assert "= onnxprep =" not in story("def test_plain(): pass").text


def test_xfail_and_skip_marks_count(story):
    """The marks of pytest itself work on check items."""
    outcome = story(
        "@pytest.mark.xfail(strict=True)\n"
        "@onnx_export(build_branches, inputs=X, exporter='torchscript', opset=17)\n@parity()\n"
        "def test_known(onnx_model): assert False\n"
        "@pytest.mark.skip(reason='not today')\n"
        "@onnx_export(lambda: 42, inputs=X)\ndef test_later(onnx_model): pass\n"
    )

    outcome.result.assert_outcomes(xfailed=2, skipped=1)


def test_xfail_of_one_check_leaves_the_others_alone(story):
    """``check=`` and ``variant=`` say which items a strict xfail means; the others have to pass as ever."""
    outcome = story(
        "@pytest.mark.xfail(check='parity', variant='torchscript-opset17', strict=True, reason='a baked branch')\n"
        "@onnx_export(build_branches, inputs=X, exporter='torchscript', opset=[15, 17])\n@parity()\n"
        "def test_known(onnx_model): pass\n"
    )

    outcome.result.assert_outcomes(passed=2, xfailed=1, failed=1)
    assert outcome.verdicts["test_known[torchscript-opset17-export]"] == "pass"


def test_xfail_of_an_unknown_check_is_an_error(story):
    """A check that does not exist would never fail."""
    outcome = story(
        "@pytest.mark.xfail(check='parrity')\n@onnx_export(build, inputs=X)\ndef test_known(onnx_model): pass\n"
    )

    assert "test_story.py" in outcome.text
    assert "@xfail: unknown check 'parrity'; did you mean 'parity'?" in outcome.text


def test_a_skip_in_the_body_or_the_factory_is_a_skip(story):
    """pytest.skip and importorskip mean what they mean."""
    outcome = story(
        "@onnx_export(build, inputs=X, exporter='torchscript', opset=17)\n"
        "def test_body(onnx_model): pytest.skip('not here')\n"
        "@onnx_export(lambda: pytest.importorskip('not_there_at_all'), inputs=X)\n@parity()\n"
        "def test_factory(onnx_model): pass\n"
    )

    outcome.result.assert_outcomes(skipped=3)
    assert outcome.counts() == {"skip": 3}


# fixtures of the user -------------------------------------------------------------------------------------------------


def test_user_fixtures_reach_the_body(story):
    """The body may ask for any fixture."""
    outcome = story("""
        @pytest.fixture
        def limit(): return 10
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        def test_x(onnx_model, limit, tmp_path, request):
            assert onnx_model.node_count < limit
            assert request.node.name == "test_x[torchscript-opset17-export]"
        """)

    assert outcome.counts() == {"pass": 1}


def test_parametrize_reaches_the_body(story):
    """A parameter of the user's is the body's, in every variant."""
    outcome = story("""
        @pytest.mark.parametrize("limit", [100, 1], ids=["roomy", "tight"])
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @parity(max_examples=2)
        def test_x(onnx_model, limit):
            assert onnx_model.node_count < limit
        """)

    assert outcome.counts() == {"pass": 3, "fail": 1}
    assert [name for name, verdict in outcome.verdicts.items() if verdict == "fail" and "tight" in name]


def test_methods_of_a_class(story):
    """Methods see their instance, and class-level marks make their items."""
    outcome = story("""
        @onnx_export(build, inputs=X, exporter="torchscript", opset=17)
        @parity(max_examples=2)
        class TestNet:
            limit = 100
            def test_x(self, onnx_model):
                assert onnx_model.node_count < self.limit
        """)

    assert outcome.counts() == {"pass": 2}


def test_the_model_fixture_is_the_source(story):
    """Without source= the fixture ``model`` gives the model, whether the test names it or not."""
    outcome = story("""
        @pytest.fixture
        def model(): return build()
        @onnx_export(inputs=X, exporter="torchscript", opset=17)
        @parity(max_examples=2)
        def test_implicit(onnx_model): pass
        @onnx_export(inputs=X, exporter="torchscript", opset=17)
        @parity(max_examples=2)
        def test_explicit(model, onnx_model): assert isinstance(model, nn.Module)
        """)

    assert outcome.counts() == {"pass": 4}


def test_a_parametrised_model_fixture_gives_a_model_each(story):
    """Each parameter is a model of its own, exported and compared as itself."""
    outcome = story("""
        @pytest.fixture(params=[2, 3])
        def model(request): return nn.Linear(4, request.param)
        @onnx_export(inputs=X, exporter="torchscript", opset=17)
        @parity(max_examples=3)
        def test_x(onnx_model, request):
            shape = onnx_model.proto.graph.output[0].type.tensor_type.shape
            assert shape.dim[1].dim_value == request.getfixturevalue("model").out_features
        """)

    assert outcome.counts() == {"pass": 4}
    assert len(outcome.records) == 4


def test_a_model_fixture_of_the_session_serves_all_checks(story, monkeypatch):
    """A session-scoped ``model`` is built once."""
    monkeypatch.setenv("COUNT_FILE", str(story.path / "count"))
    outcome = story(
        COUNTED
        + """
@pytest.fixture(scope="session")
def model(): return counted()
@onnx_export(inputs=X, exporter="torchscript", opset=17)
@parity(max_examples=2)
@size_budget(mb=1)
def test_x(onnx_model): pass
"""
    )

    assert outcome.counts() == {"pass": 3}
    assert (story.path / "count").read_text() == "built\n"


# switching us off -----------------------------------------------------------------------------------------------------


def test_no_onnxprep(story):
    """-p no:onnxprep leaves plain tests alone and makes nothing of marked ones."""
    story.write(TWO.format(mb=1) + "\ndef test_plain(): pass\n")
    result = story.pytester.runpytest_subprocess("-p", "no:onnxprep", "-p", "no:cacheprovider", "-W", "ignore")
    text = result.stdout.str()

    result.assert_outcomes(passed=1, errors=1)
    assert "fixture 'onnx_model' not found" in text
    assert "onnxprep:" not in text


def test_no_xdist(story):
    """Without xdist everything works as before."""
    assert story(TWO.format(mb=1), "-p", "no:xdist", "-m", "size_budget").counts() == {"pass": 2}


def test_strict_marks_and_warnings_as_errors(story):
    """Nothing of ours warns, skipped latency items included."""
    outcome = story(TWO.format(mb=1), "-W", "error::pytest.PytestWarning", "--strict-config", "--benchmark-skip")

    assert outcome.counts() == {"pass": 6, "skip": 2}
    assert "warning" not in outcome.result.outlines[-1]


def test_a_latency_item_without_an_export_does_not_warn(story):
    """pytest-benchmark's complaint about an unused fixture is kept from the user."""
    outcome = story("@onnx_export(lambda: 42, inputs=X)\n@latency_budget(p95_ms=1)\ndef test_x(onnx_model): pass")

    assert outcome.counts() == {"error": 2}
    assert "was not used" not in outcome.text
