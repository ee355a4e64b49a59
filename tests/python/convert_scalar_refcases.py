"""Makes tests/data/refcases/scalar_*.npy from recorded runs of the published code (.npz files with
the fields named below, one per case): python3 convert_scalar_refcases.py NPZ_FOLDER OUT_FOLDER.

Kept of each run: data, generators, and per outer step the chosen and the refitted weights [steps,
hidden*inputs] and the squared errors and step size [steps, 4]: before, chosen, after, step size."""

import glob
import os
import sys

import numpy as np

STEPS = 7


def main(source, target):
    for path in sorted(glob.glob(os.path.join(source, "scalar_*.npz"))):
        case = np.load(path)
        name = os.path.basename(path)[: -len(".npz")].replace("n200_d20_m10_s15_", "")
        fields = {
            "x": case["X"],
            "y": case["y"].reshape(-1, 1),
            "generators": case["h_random"],
            "chosen": case["it_x_tilde"][:STEPS],
            "after": case["it_x_after"][:STEPS],
            "scalars": np.stack(
                [
                    case["it_f_before"][:STEPS],
                    case["it_f_tilde"][:STEPS],
                    case["it_f_after"][:STEPS],
                    case["it_stepsize0"][:STEPS],
                ],
                axis=1,
            ),
        }
        for field, values in fields.items():
            values = np.ascontiguousarray(values, dtype="<f4")
            np.save(os.path.join(target, f"{name}.{field}.npy"), values)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
