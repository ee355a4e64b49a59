"""check_safetensors.py WRITE_MODELS: opens model files with the safetensors package and computes
what they predict from their tensors alone. Exit status 77 (skipped) without numpy or safetensors.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    from safetensors import safe_open
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)


def dense(tensors, name, columns):
    """The matrix of a CSR by rows."""
    crow = tensors[f"{name}.crow_indices"]
    matrix = np.zeros((len(crow) - 1, columns))
    rows = np.repeat(np.arange(len(crow) - 1), np.diff(crow))
    matrix[rows, tensors[f"{name}.col_indices"]] = tensors[f"{name}.values"]
    return matrix


def predict(tensors, metadata, x):
    bias = metadata["bias"] == "true"
    embedding = x.astype(np.float64)
    for layer, hidden in enumerate(json.loads(metadata["hidden"])):
        if bias:
            embedding = np.hstack([embedding, np.ones((len(x), 1))])
        weights = dense(tensors, f"layers.{layer}", embedding.shape[1])
        assert weights.shape[0] == hidden
        embedding = np.maximum(embedding @ weights.T, 0)
    if metadata["kind"] == "fused":
        return embedding @ tensors["signs"].astype(np.float64)[:, None]
    return embedding @ dense(tensors, "output", int(metadata["outputs"]))


def check(path):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    assert metadata["format"] == "reliht" and metadata["seed"] == "18446744073709551615"
    json.loads(metadata["preprocessing"])
    x = np.fromfile(path.with_suffix(".x.f32"), "<f4").reshape(-1, int(metadata["inputs"]))
    y = np.fromfile(path.with_suffix(".y.f32"), "<f4").reshape(len(x), -1)
    error = np.abs(predict(tensors, metadata, x) - y).max()
    print(f"{path.name}: {metadata['kind']} {metadata['hidden']}, largest difference {error:.1e}")
    assert error < 1e-5 * max(1.0, np.abs(y).max())


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.argv[1], folder], check=True)
    files = sorted(Path(folder).glob("*.safetensors"))
    assert files
    for file in files:
        check(file)
