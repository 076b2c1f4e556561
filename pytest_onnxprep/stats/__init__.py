"""Quantiles, binomial tails and sequential verdicts: pure functions of numbers, standard library only."""
