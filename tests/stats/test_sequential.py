"""The absolute-budget verdict on simulated calls."""

from __future__ import annotations

import random

import pytest

from pytest_onnxprep.stats.sequential import LOOKS, Budget, Decision, Evidence, Ruling, judge, minimum_calls
from pytest_onnxprep.stats.words import in_ms, interval_ms, percent

P95 = Budget("p95", 0.010, 0.95)
MEAN = Budget("mean", 0.010, None)


def decide(draw, *budgets: Budget, disturbed=lambda: False, **shares) -> Decision:
    """Look until a verdict, drawing seconds per call."""
    samples: list[float] = []
    flags: list[bool] = []
    for look, calls in enumerate(LOOKS, start=1):
        while len(samples) < calls:
            samples.append(draw())
            flags.append(disturbed())
        evidence = Evidence(samples, flags, **shares)
        decision = judge(evidence, budgets, look=look, final=look == len(LOOKS))
        if decision.ruling is not Ruling.CONTINUE:
            break
    return decision


def violating(rng: random.Random, share: float):
    """Draws 11 ms with this probability, else 9 ms."""
    return lambda: 0.011 if rng.random() < share else 0.009


def rulings(share: float, runs: int, seed: int = 0, **how) -> list[Ruling]:
    """Verdicts of independent runs against P95."""
    rng = random.Random(seed)
    return [decide(violating(rng, share), P95, **how).ruling for _ in range(runs)]


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.05, [59, 93, 124, 153, 181, 208]), (0.01, [90, 130, 165, 198, 229, 259])]
)
def test_minimum_calls_for_p95(alpha, expected):
    """The fewest calls that can show a p95 are those of MLPerf's early-stopping rule."""
    assert [minimum_calls(0.95, violations, alpha) for violations in range(6)] == expected


def test_minimum_calls_of_mlperf():
    """MLPerf's published minimum for p90 and p99 at 99 % with one query over is met."""
    assert (minimum_calls(0.9, 1, 0.01), minimum_calls(0.99, 1, 0.01)) == (64, 662)


def test_exactly_at_the_budget_is_seldom_decided():
    """With exactly 5 % of calls over a p95 budget a false verdict is as rare as promised."""
    found = rulings(0.05, 200)

    assert found.count(Ruling.FAIL) <= 4
    assert found.count(Ruling.PASS) <= 16


@pytest.mark.parametrize(
    ("share", "ruling"), [(0.0, Ruling.PASS), (0.01, Ruling.PASS), (0.12, Ruling.FAIL), (1.0, Ruling.FAIL)]
)
def test_clear_cases_are_clear(share, ruling):
    """Well within passes, well over fails."""
    assert set(rulings(share, 50)) == {ruling}


def test_gross_violations_fail_at_the_first_look():
    """128 calls are enough when half of them are over."""
    rng = random.Random(0)

    assert (
        judge(Evidence([violating(rng, 0.5)() for _ in range(128)], [False] * 128), [P95], look=1).ruling is Ruling.FAIL
    )


def test_noise_is_inconclusive_and_named():
    """A p95 over its budget on a machine that preempts every fifth call is nobody's proven fault."""
    rng = random.Random(0)
    decision = decide(violating(rng, 0.12), P95, disturbed=lambda: rng.random() < 0.2)

    assert decision.ruling is Ruling.INCONCLUSIVE
    assert decision.reason.startswith("machine noisy: 19 % of calls preempted (p95 ")
    assert decision.budgets[0].is_over


def test_noise_does_not_prevent_a_pass():
    """Noise only adds time: what is within the budget under noise is within it."""
    rng = random.Random(0)

    assert decide(violating(rng, 0.01), P95, disturbed=lambda: rng.random() < 0.5).ruling is Ruling.PASS


def test_gross_violations_fail_under_noise():
    """When even the lower quartile of the undisturbed calls is over, noise is no excuse."""
    rng = random.Random(0)
    decision = decide(violating(rng, 0.95), P95, disturbed=lambda: rng.random() < 0.3)

    assert (decision.ruling, decision.budgets[0].certificate) == (Ruling.FAIL, "quartile")


def test_stolen_time_is_noise():
    """A host that withholds CPU time leaves no preempted calls, yet is no quiet machine."""
    rng = random.Random(0)
    decision = decide(violating(rng, 0.12), P95, steal_share=0.07)

    assert decision.ruling is Ruling.INCONCLUSIVE
    assert "7.0 % of CPU time stolen by the host" in decision.reason


@pytest.mark.parametrize(("share", "ruling"), [(0.05, Ruling.FAIL), (0.25, Ruling.INCONCLUSIVE)])
def test_busy_neighbours_are_noise(share, ruling):
    """One that copies memory slows a call in ten and preempts none: the model is not failed for it."""
    rng = random.Random(0)
    decision = decide(violating(rng, 0.12), P95, others_share=share)

    assert decision.ruling is ruling
    assert ("other processes used 25 % of the CPUs" in decision.reason) == (ruling is Ruling.INCONCLUSIVE)
    assert decide(violating(rng, 0.95), P95, others_share=0.5).budgets[0].certificate == "quartile"


def test_stolen_share_is_taken_off_before_calling_it_gross():
    """11 ms on a host that takes a fifth may be 8.8 ms on a fair one."""
    evidence = Evidence([0.011] * 128, [False] * 128, steal_share=0.2)

    assert judge(evidence, [P95], look=1).ruling is Ruling.CONTINUE
    assert max(evidence.clean()) == pytest.approx(0.0088)


def test_cpu_time_is_a_floor_for_disturbed_calls():
    """Calls that are all preempted still fail when their own CPU time is over the budget."""
    samples, disturbed = [0.030] * 40, [True] * 40
    with_floor = judge(Evidence(samples, disturbed, [0.012] * 40), [P95], look=1, final=True)
    without = judge(Evidence(samples, disturbed), [P95], look=1, final=True)

    assert (with_floor.ruling, with_floor.budgets[0].certificate) == (Ruling.FAIL, "quartile")
    assert without.ruling is Ruling.INCONCLUSIVE


def test_close_calls_say_how_close():
    """At the end of a quiet but undecided run the reason shows the interval and the budget."""
    rng = random.Random(3)
    decision = decide(violating(rng, 0.05), P95)

    assert decision.ruling is Ruling.INCONCLUSIVE
    assert decision.reason == "too close to call (p95 9.00..11.0 ms around 10 ms)"


def test_too_few_calls_say_how_many():
    """A few calls within the budget name the number a verdict would need."""
    decision = judge(Evidence([0.009] * 6, [False] * 6), [P95], look=1, final=True)

    assert (decision.ruling, decision.calls_needed) == (Ruling.INCONCLUSIVE, 59)
    assert decision.reason == "p95 needs at least 59 calls; 6 were made"


def test_few_calls_fail_only_beyond_twice_the_budget():
    """Four calls are enough when each is over twice the budget, and not when they are merely over it."""
    for budget in (P95, MEAN, Budget("p50", 0.010, 0.5)):
        twofold = judge(Evidence([0.021] * 4, [False] * 4), [budget], look=1, final=True)
        over = judge(Evidence([0.019] * 4, [False] * 4), [budget], look=1, final=True)

        assert (twofold.ruling, twofold.budgets[0].certificate) == (Ruling.FAIL, "twofold")
        assert over.ruling is Ruling.INCONCLUSIVE


def test_a_single_final_look_spends_the_whole_allowance():
    """59 calls within pass a p95 when they are all there will ever be, but not as the first look of several."""
    evidence = Evidence([0.009] * 59, [False] * 59)

    assert judge(evidence, [P95], look=1, final=True).ruling is Ruling.PASS
    assert judge(evidence, [P95], look=1).ruling is Ruling.CONTINUE


def test_all_budgets_must_pass_and_any_may_fail():
    """One budget over fails the whole; one undecided keeps it open."""
    rng = random.Random(0)
    evidence = Evidence([violating(rng, 0.05)() for _ in range(512)], [False] * 512)
    median, tight = Budget("p50", 0.010, 0.5), Budget("p50", 0.008, 0.5)

    assert judge(evidence, [median], look=3).ruling is Ruling.PASS
    assert judge(evidence, [median, P95], look=3).ruling is Ruling.CONTINUE
    failed = judge(evidence, [median, tight, P95], look=3)
    assert failed.ruling is Ruling.FAIL
    assert [one.ruling for one in failed.budgets] == [Ruling.PASS, Ruling.FAIL, Ruling.CONTINUE]


@pytest.mark.parametrize(("mean", "ruling"), [(0.008, Ruling.PASS), (0.012, Ruling.FAIL)])
def test_mean_budgets(mean, ruling):
    """A mean well under its budget passes and one well over fails."""
    rng = random.Random(0)

    assert decide(lambda: rng.gauss(mean, 0.002), MEAN).ruling is ruling


def test_mean_at_its_budget_is_seldom_failed():
    """A mean exactly at its budget fails about once in a hundred runs."""
    rng = random.Random(5)
    found = [decide(lambda: rng.expovariate(100), MEAN).ruling for _ in range(100)]

    assert found.count(Ruling.FAIL) <= 4
    assert found.count(Ruling.PASS) <= 12


def test_mean_under_noise_needs_its_lower_quartile_over():
    """Rare preempted calls that pull a mean over its budget do not fail it."""
    rng = random.Random(0)
    flags = [rng.random() < 0.1 for _ in range(512)]
    evidence = Evidence([0.060 if bad else 0.008 for bad in flags], flags)

    assert judge(evidence, [MEAN], look=3, final=True).reason.startswith("machine noisy: ")
    gross = Evidence([0.060 if bad else 0.012 for bad in flags], flags)
    assert judge(gross, [MEAN], look=3).budgets[0].certificate == "quartile"


@pytest.mark.parametrize(
    "call",
    [
        lambda: judge(Evidence([], []), [P95], look=1),
        lambda: judge(Evidence([0.1], [False]), [], look=1),
        lambda: judge(Evidence([0.1], [False]), [P95], look=7),
        lambda: minimum_calls(1.0),
    ],
)
def test_nonsense_is_refused(call):
    """Nothing to judge, a seventh look or a certain quantile is a ValueError."""
    with pytest.raises(ValueError, match=r"needs|must"):
        call()


def test_words():
    """Times keep three digits, shares two, and open intervals say so."""
    inf = float("inf")

    assert [in_ms(s) for s in (0.00321, 0.0184, 0.1, 1.2041, 0.00000012)] == ["3.21", "18.4", "100", "1204", "0.000120"]
    assert [interval_ms(i) for i in ((0.0098, 0.0113), (0.001, inf), (-inf, 0.001), (-inf, inf))] == [
        "9.80..11.3",
        "1.00 or more",
        "at most 1.00",
        "unknown",
    ]
    assert [percent(s) for s in (0, 0.004, 0.19, 1)] == ["0 %", "0.4 %", "19 %", "100 %"]
