"""A node process that runs one TensorFlow.js graph model: JSON lines in, JSON lines out."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pytest_onnxprep.errors import ReferenceRefused, ReferenceUnavailable, SourceError

PACKAGE = "@tensorflow/tfjs"
_SECONDS = 120.0
#: numpy dtype -> TensorFlow.js's.
_DTYPES = {"float32": "float32", "int32": "int32", "bool": "bool"}

_PROGRAM = r"""
const fs = require('fs'), path = require('path'), readline = require('readline');
console.log = console.warn = console.info = () => {};
const [model, ...places] = process.argv.slice(1);
const say = value => fs.writeSync(1, JSON.stringify(value) + '\n');
let tf;
try { tf = require(require.resolve('@tensorflow/tfjs', {paths: places})); }
catch (error) { say({missing: String(error.message).split('\n')[0]}); process.exit(0); }
const arrays = {float32: Float32Array, int32: Int32Array, bool: Uint8Array};
(async () => {
  await tf.setBackend('cpu'); await tf.ready();
  const json = JSON.parse(fs.readFileSync(model));
  const folder = path.dirname(model);
  const names = json.weightsManifest.flatMap(group => group.paths);
  const files = names.map(name => fs.readFileSync(path.join(folder, name)));
  const all = Buffer.concat(files);
  const graph = await tf.loadGraphModel({load: async () => ({
    modelTopology: json.modelTopology, format: json.format, signature: json.signature,
    userDefinedMetadata: json.userDefinedMetadata,
    weightSpecs: json.weightsManifest.flatMap(group => group.weights),
    weightData: all.buffer.slice(all.byteOffset, all.byteOffset + all.length)})});
  say({ready: tf.version.tfjs});
  for await (const line of readline.createInterface({input: process.stdin})) {
    try {
      const {feeds, outputs} = JSON.parse(line), given = {};
      for (const [name, {data, dtype, shape}] of Object.entries(feeds)) {
        const bytes = Buffer.from(data, 'base64'), kind = arrays[dtype];
        const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
        given[name] = tf.tensor(new kind(copy), shape, dtype);
      }
      const results = await graph.executeAsync(given, outputs);
      const list = Array.isArray(results) ? results : [results], said = [];
      for (const tensor of list) {
        const data = await tensor.data();
        said.push({dtype: tensor.dtype, shape: tensor.shape,
                   data: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')});
      }
      say({outputs: said}); tf.dispose(list); tf.dispose(given);
    } catch (error) { say({error: String(error.message || error)}); }
  }
})().catch(error => { say({broken: String(error.message || error)}); process.exit(0); });
"""


class Node:
    """The process; ends with this object.

    Args:
        model: the ``model.json``.

    Raises:
        ReferenceUnavailable: there is no node, or it does not find the package.
        SourceError: the model does not load.
    """

    def __init__(self, model: Path) -> None:
        node = shutil.which("node")
        if node is None:
            raise ReferenceUnavailable(
                f"{_said(model)} is run by TensorFlow.js, which needs node: install it, then npm install {PACKAGE} "
                "in the working directory"
            )
        places = [str(Path.cwd()), str(model.resolve().parent), *os.environ.get("NODE_PATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [node, "-e", _PROGRAM, "--", str(model.resolve()), *filter(None, places)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        weakref.finalize(self, _end, self._process)
        told = self._read()
        if "missing" in told:
            raise ReferenceUnavailable(
                f"{_said(model)} is run by TensorFlow.js: npm install {PACKAGE} in the working directory or beside "
                "the model, or name its node_modules in NODE_PATH"
            )
        if "ready" not in told:
            raise SourceError(f"{_said(model)} cannot be read by TensorFlow.js: {told.get('broken', 'no answer')}")
        self.version = str(told["ready"])

    def run(self, feeds: Mapping[str, np.ndarray], outputs: list[str]) -> list[np.ndarray]:
        """Run on tensors by the graph's own names.

        Raises:
            ReferenceRefused: TensorFlow.js does not take them.
        """
        given = {
            name: {
                "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
                "dtype": _DTYPES.get(array.dtype.name, array.dtype.name),
                "shape": list(array.shape),
            }
            for name, array in feeds.items()
        }
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"feeds": given, "outputs": outputs}).encode() + b"\n")
        except OSError:
            raise ReferenceRefused("the node process is gone") from None
        told = self._read()
        if "outputs" not in told:
            raise ReferenceRefused(str(told.get("error", "the node process gave no answer")))
        return [
            np.frombuffer(base64.b64decode(one["data"]), one["dtype"]).reshape(one["shape"]) for one in told["outputs"]
        ]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        until, said = time.monotonic() + _SECONDS, bytearray()
        while not said.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            piece = os.read(self._process.stdout.fileno(), 1 << 20) if ready else b""
            if not piece:
                return {}
            said += piece
        told: dict[str, Any] = json.loads(said)
        return told


def _said(model: Path) -> str:
    return f"source '{model.parent.name}/{model.name}'"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
