"""One file per check; each is ``run(case) -> CheckResult`` and knows nothing of pytest."""
