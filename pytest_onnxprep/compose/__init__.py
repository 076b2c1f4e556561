"""Several files that answer as one: pipelines, ensembles, and the buckets of a dynamic shape."""
