#!/usr/bin/env python3
"""Time of a step before and after the support is found, with and without screening.

    bench/screening.py [--reliht build/release/reliht] [--hidden 10000,1000000]

A convex run on the full batch, the planted neurons among many drawn ones. Steps whose sweep formed
the gradients of all neurons are "before", those that left more than half out "after"; medians of the
milliseconds a step took, from the log. Both runs must end with the same weights.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile


def run(reliht, hidden, seed, screening, folder):
    log, model = os.path.join(folder, "log.jsonl"), os.path.join(folder, "model.safetensors")
    command = [reliht, "planted", "--convex", "--samples", "3000", "--inputs", "50",
               "--planted-hidden", "5", "--hidden", str(hidden), "--nnz", "15", "--disjoint",
               "--magnitude-minimum", "1", "--generator", "sparse", "--epochs", "12",
               "--return", "last", "--seed", str(seed), "--backend", "cpu", "--log", log,
               "--model", model, "--json", "--quiet"] + ([] if screening else ["--no-screening"])
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE,
                                       text=True).stdout.splitlines()[-1])
    with open(log, encoding="utf-8") as file:
        steps = [json.loads(line) for line in file]
    with open(model, "rb") as file:
        weights = file.read()
    times = [b["seconds"] - a["seconds"] for a, b in zip(steps, steps[1:])]
    return result, [s["swept"] for s in steps[1:]], times, weights


def median(times):
    return "%.2f" % (1e3 * statistics.median(times)) if times else "-"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reliht", default="build/release/reliht")
    parser.add_argument("--hidden", default="10000,1000000")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| hidden | all swept, ms a step | screened: before, ms | after, ms | neurons after | "
          "swept_fraction | same weights |\n|---|---|---|---|---|---|---|")
    for hidden in (int(text) for text in options.hidden.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            plain = run(options.reliht, hidden, options.seed, False, folder)
            screened = run(options.reliht, hidden, options.seed, True, folder)
        before = [t for t, n in zip(screened[2], screened[1]) if n >= hidden // 2]
        after = [(t, n) for t, n in zip(screened[2], screened[1]) if n < hidden // 2]
        print("| %d | %s | %s | %s | %s | %.3f | %s |" % (
            hidden, median(plain[2]), median(before), median([t for t, _ in after]),
            statistics.median_low([n for _, n in after]) if after else "-",
            screened[0]["swept_fraction"], "yes" if plain[3] == screened[3] else "NO"))


if __name__ == "__main__":
    main()
