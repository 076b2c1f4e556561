"""Plain data: shapes, dims, signatures, variants, tolerances, verdicts. Imports nothing else of this package."""
