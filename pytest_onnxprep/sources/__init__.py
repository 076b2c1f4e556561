"""One file per framework: how to recognise, read, run and fingerprint a model."""
