"""One file per exporter: model + signature + variant -> file; and the proof that the file keeps the contract."""
