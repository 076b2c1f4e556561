"""What the system says about clock, quota and load, read from files a test brings."""

from __future__ import annotations

from pytest_onnxprep.machine import conditions, cpu_mhz, governor


def write(root, files):
    """Make up a ``/proc`` and ``/sys``."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_clock_is_that_of_the_slowest_cpu(tmp_path):
    """From cpufreq where there is one, in MHz."""
    files = {
        f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_cur_freq": f"{khz}\n" for i, khz in ((0, 3400000), (1, 1200000))
    }
    files["sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"] = "powersave\n"
    write(tmp_path, files)

    assert cpu_mhz(tmp_path) == 1200.0
    assert governor(tmp_path) == "powersave"


def test_else_the_clock_is_that_of_cpuinfo(tmp_path):
    """On virtual machines; without either it is unknown."""
    assert cpu_mhz(tmp_path) is None
    write(tmp_path, {"proc/cpuinfo": "processor : 0\ncpu MHz\t\t: 2300.000\n\nprocessor : 1\ncpu MHz : 2299.9\n"})

    assert cpu_mhz(tmp_path) == 2299.9


def test_conditions_watch_throttling_from_start_to_end(tmp_path):
    """Quota, and the seconds it stopped the cgroup meanwhile."""
    stat = "sys/fs/cgroup/job/cpu.stat"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/cpu.max": "150000 100000\n",
            stat: "throttled_usec 1000000\n",
        },
    )
    finish = conditions(tmp_path)
    write(tmp_path, {stat: "throttled_usec 1250000\n"})
    found = finish()

    assert (found["quota"], found["throttled_s"]) == (1.5, 0.25)


def test_nothing_is_invented(tmp_path):
    """Where the system says nothing the figures are None, and the keys are there all the same."""
    found = conditions(tmp_path)()

    assert found["cpu_mhz"] is found["governor"] is found["quota"] is found["throttled_s"] is None
    assert found["cores_usable"] >= 1


def test_variables_that_set_threads_are_recorded(tmp_path, monkeypatch):
    """They decide how much of the machine a framework's model takes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")

    assert conditions(tmp_path)()["thread_variables"]["OMP_NUM_THREADS"] == "3"
