"""Converts recorded cases of the published vector (factored) algorithm to the .npy files in
tests/data/refcases that the tests read.

    python convert_refcases.py FOLDER OUT

FOLDER holds vector_n200_d20_m10_k3_s40_{mse,ce}_seed0_convex{0,1}.npz, recorded from the public code
(voilalab/MLP-IHT) in double precision: inputs, targets, the random choices it made, and the weights
after each of 30 full-batch steps. All four share inputs and random choices.
"""

import pathlib
import sys

import numpy as np

folder, out = map(pathlib.Path, sys.argv[1:3])
out.mkdir(parents=True, exist_ok=True)
shared = {
    "X": ("vector_x", np.float32),
    "h_random": ("vector_generators", np.float32),
    "w1_init": ("vector_first_hidden", np.float32),
    "w2_init": ("vector_first_output", np.float32),
    "sketch_hashes": ("vector_hashes", np.uint32),
    "sketch_signs": ("vector_hash_signs", np.int8),
}
for loss in ("mse", "ce"):
    for convex in (0, 1):
        case = np.load(folder / f"vector_n200_d20_m10_k3_s40_{loss}_seed0_convex{convex}.npz")
        for key, (name, kind) in shared.items():
            values = case[key].astype(kind)
            if (out / f"{name}.npy").exists():
                assert np.array_equal(np.load(out / f"{name}.npy"), values), key
            np.save(out / f"{name}.npy", values)
        np.save(out / f"vector_{loss}_y.npy", case["y"].astype(np.float32))
        np.save(out / f"vector_{loss}_convex{convex}_weights.npy", case["it_W_after"].astype(np.float32))
        assert int(case["sketch_width"]) == 69 and case["it_W_after"].shape == (30, 230)
