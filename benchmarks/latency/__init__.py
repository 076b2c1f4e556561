"""Whether latency verdicts cry wolf, and whether they see what is there: fresh processes, quiet and under load."""
