"""Suites of Keras on its other backends. Each needs a process of its own, in which `KERAS_BACKEND` names its backend.

`suites/challenges/test_keras_backends.py` starts them. By hand: `KERAS_BACKEND=torch pytest suites/backends`.
"""

from __future__ import annotations

import os

_BACKENDS = {"test_keras_on_torch.py": "torch", "test_keras_on_jax.py": "jax"}

collect_ignore = [file for file, backend in _BACKENDS.items() if os.environ.get("KERAS_BACKEND") != backend]
