"""Measured claims: each module measures one bar side by side with its yardstick; `run` writes RESULTS.md."""
