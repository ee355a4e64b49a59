#!/usr/bin/env python3
"""What one step on the GPU moves and computes, counted by a CUDA emulator.

    bench/cuda_counts.py --emulator cuemu-run --build build/release

The emulator runs a program (`cuemu-run PROGRAM ARGS`) and writes counters of every kernel to the
file that CUEMU_PROFILE names. Build with `-DRELIHT_BENCH=ON`. Tables are Markdown:
launches, 32-byte sectors that each kernel touches (unique ones, summed over the kernels of the
step) beside the least there could be (every array of the step once), bank conflicts, operations by
pipe, and the peak of device memory by purpose. With --ptxas: registers, spills and resident blocks
of the kernels, compiled for sm_90.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

STEPS = [("fused, n 4096, d 128, m 512, s 512", ["fused", "4096", "128", "512", "512"]),
         ("factored, n 1024, d 784, m 128, s 1000, k 10",
          ["factored", "1024", "784", "128", "1000", "10"])]
LOADING = ("columns_of_bytes", "finish_columns")  # of the batch, before the step


def run_step(options, arguments):
    program = os.path.join(options.build, "bench", "reliht_cuda_step")
    with tempfile.TemporaryDirectory() as folder:
        profile = os.path.join(folder, "profile.json")
        environment = dict(os.environ, CUEMU_PROFILE=profile)
        result = subprocess.run([options.emulator, program] + arguments, env=environment, check=True,
                                stdout=subprocess.PIPE, text=True)
        with open(profile, encoding="utf-8") as file:
            return json.loads(result.stdout.splitlines()[-1]), json.load(file)


def print_kernels(step, profile):
    print("| kernel | launches | unique sectors | all sectors | shared accesses | bank conflicts |")
    print("|---|---|---|---|---|---|")
    unique = total = launches = 0
    kernels = [k for k in profile["kernels"] if not any(n in k["name"] for n in LOADING)]
    for k in kernels:
        own = k["unique_sectors_read"] + k["unique_sectors_written"]
        moved = k["load_sectors"] + k["store_sectors"]
        name = re.sub(r"\(.*", "", k["name"]).split("::")[-1]
        print("| %s | %d | %d | %d | %d | %d |" % (name, k["launches"], own, moved,
                                                   k["shared_accesses"],
                                                   k["bank_conflict_cycles"]))
        unique, total, launches = unique + own, total + moved, launches + k["launches"]
    least = step["compulsory_sectors"]
    print("\n%d launches; unique sectors %d, %.2f times the least possible (%d); all sectors %d\n" %
          (launches, unique, unique / least, least, total))
    return kernels


def print_operations(kernels):
    names = sorted({n for k in kernels for n in k["warp_instructions"]})
    print("| kernel | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    for k in kernels:
        name = re.sub(r"\(.*", "", k["name"]).split("::")[-1]
        print("| %s | " % name + " | ".join(str(k["warp_instructions"].get(n, 0)) for n in names) +
              " |")
    print("\n(warp instructions)\n")


def print_memory(step):
    held = {name: count for name, count in step["device_bytes"].items() if count}
    print("device memory at the peak: " +
          ", ".join("%s %.1f kB" % (name, count / 1e3) for name, count in held.items()) + "\n")


def print_registers(options):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    print("## ptxas -v, sm_90\n\n| kernel | registers | spills, bytes | static shared, bytes |")
    print("|---|---|---|---|")
    for name in sorted(os.listdir(os.path.join(root, "kernels"))):
        if not name.endswith(".cu"):
            continue
        command = [options.nvcc, "-arch=sm_90", "-O3", "-std=c++17", "-fmad=false", "-Xptxas=-v",
                   "-I" + root, "-I" + os.path.join(root, "host"),
                   "-I" + os.path.join(root, "include"), "-cubin", "-o", os.devnull,
                   os.path.join(root, "kernels", name)]
        text = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
        for block in text.split("Compiling entry function")[1:]:
            kernel = re.search(r"'(\S+)'", block).group(1)
            kernel = subprocess.run(["c++filt", kernel], stdout=subprocess.PIPE, text=True,
                                    check=True).stdout.strip()
            registers = re.search(r"Used (\d+) registers", block)
            spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", block)
            shared = re.search(r"(\d+) bytes smem", block)
            print("| %s | %s | %d | %s |" % (
                re.sub(r"\(.*", "", kernel.replace("(anonymous namespace)::", "")).split("::")[-1],
                registers.group(1), int(spills.group(1)) + int(spills.group(2)),
                shared.group(1) if shared else 0))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulator", required=True, help="program that runs CUDA programs")
    parser.add_argument("--build", default="build/release", help="folder it was built in")
    parser.add_argument("--ptxas", action="store_true", help="also registers and spills")
    parser.add_argument("--nvcc", default="nvcc")
    options = parser.parse_args()
    for title, arguments in STEPS:
        step, profile = run_step(options, arguments)
        print("## One step: %s\n" % title)
        kernels = print_kernels(step, profile)
        print_operations(kernels)
        print_memory(step)
        sys.stdout.flush()
    if options.ptxas:
        print_registers(options)


if __name__ == "__main__":
    main()
