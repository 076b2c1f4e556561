"""Holding an array to its reference: structure, values, metrics, and how a difference is told."""
