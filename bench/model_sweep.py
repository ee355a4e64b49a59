#!/usr/bin/env python3
"""Modelled time of the CUDA sweep on an H100 from what an emulator counted.

    CUEMU_PROFILE=profile.json cuemu-run build/dev/tests/reliht_cuda_tests \\
        --gtest_filter=CudaSweep.KeepsTheBestOfAFullTile
    bench/model_sweep.py profile.json

The test sweeps one tile over as many samples as a split of the large problem has, on one block, so
that nobody waits at a barrier. Its counts are scaled by samples * neurons, which overstates what
is done once a tile. The model is the largest of the times below: what each pipe needs if it never
waits for another. It says nothing about latencies.
"""
import argparse
import json

PROCESSORS, CLOCK = 132, 1.755e9
CYCLES = PROCESSORS * CLOCK  # a second
TENSOR = 0.62 * 990e12       # flop/s that mma.sync reaches of the peak
L2, DRAM = 5.5e12, 3.35e12   # bytes/s
SECTOR = 32

# Cycles of shared memory that the emulator doesn't count, for each mma: it takes a vector access
# of a warp for one cycle. A warp does 96 mma in a step, 6 ldmatrix.x4 and 4 vector loads of X (4
# cycles each instead of 1), 12 stores of parts (2 instead of 1), and 4 cp.async (4 instead of 0).
VECTOR_CYCLES = (6 * 3 + 4 * 3 + 12 * 1 + 4 * 4) / 96


def shape(text):
    samples, inputs, neurons = (int(part) for part in text.split(","))
    return samples, inputs, neurons


def times(kernel, measured, wanted):
    """Pipe -> (what was counted, scaled; seconds)."""
    work = wanted[0] * wanted[2] / (measured[0] * measured[2])
    warps = {name: work * count for name, count in kernel["warp_instructions"].items()}
    memory = sum(warps[name] for name in
                 ("ld_global", "st_global", "ld_shared", "st_shared", "local", "atomic"))
    shared = work * (kernel["shared_accesses"] + kernel["bank_conflict_cycles"])
    shared += VECTOR_CYCLES * warps["mma"]
    sectors = work * (kernel["load_sectors"] + kernel["store_sectors"])
    unique = kernel["unique_sectors_read"] + kernel["unique_sectors_written"]
    unique *= wanted[0] / measured[0]
    flops = work * kernel["flops"]["mma_16bit"]
    return {
        "tensor cores, flop": (flops, flops / TENSOR),
        "integer, warp instructions": (warps["int"], warps["int"] / (2 * CYCLES)),
        "fp32, warp instructions": (warps["fp32"], warps["fp32"] / (4 * CYCLES)),
        "issue, warp instructions": (sum(warps.values()), sum(warps.values()) / (4 * CYCLES)),
        "load/store, warp instructions": (memory, memory / CYCLES),
        "shared memory, cycles": (shared, shared / CYCLES),
        "L2, bytes": (SECTOR * sectors, SECTOR * sectors / L2),
        "DRAM, bytes": (SECTOR * unique, SECTOR * unique / DRAM),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile")
    parser.add_argument("--kernel", default="sweep_select", help="part of its name")
    parser.add_argument("--measured", type=shape, default=(3136, 128, 128),
                        help="samples,inputs,neurons of the profile")
    parser.add_argument("--wanted", type=shape, default=(50000, 128, 1024))
    options = parser.parse_args()
    if options.measured[1] != options.wanted[1]:
        parser.error("inputs cannot be scaled")
    with open(options.profile, encoding="utf-8") as file:
        kernels = [k for k in json.load(file)["kernels"] if options.kernel in k["name"]]
    if len(kernels) != 1 or kernels[0]["launches"] != 1:
        parser.error("the profile must hold one launch of %s" % options.kernel)
    samples, inputs, neurons = options.wanted
    product = 6 * samples * inputs * neurons / TENSOR
    table = times(kernels[0], options.measured, options.wanted)
    print("| pipe | counted and scaled | us | of the split product |")
    print("|---|---|---|---|")
    for name, (count, seconds) in table.items():
        print("| %s | %.3g | %.1f | %.2f |" % (name, count, 1e6 * seconds, seconds / product))
    longest = max(table, key=lambda name: table[name][1])
    print("\nmodelled time %.1f us (%s), split product alone %.1f us: %.2f times" %
          (1e6 * table[longest][1], longest.split(",")[0], 1e6 * product,
           table[longest][1] / product))


if __name__ == "__main__":
    main()
