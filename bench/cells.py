#!/usr/bin/env python3
"""Runs the cells of the paper's figures with reliht and prints them beside the published code.

    bench/cells.py [--reliht PROGRAM] [--seeds N] [--threads T] [planted] [mnist] [inr] [sense]

The reference columns are measurements of the authors' code (voilalab/MLP-IHT, its algorithm
unchanged) in double precision on two cores of a Xeon at 2.5 GHz: seeds 0 to 2, processor seconds of
solving alone. Ours are of the whole program. MNIST is taken from $RELIHT_DATA (datasets/get mnist).
"""
import argparse
import gzip
import json
import os
import statistics
import struct
import subprocess
import tempfile
import zlib

# hidden, nnz, epochs: PSNR of the published code by seed, its CPU seconds
PLANTED = [
    (10, 10, 15, [41.0, 29.1, 19.9], 11),
    (10, 50, 15, [32.5, 26.8, 30.8], 14.6),
    (10, 200, 15, [33.2, 27.7, 27.3], 23),
    (10, 1000, 15, [31.5], 76),
    (50, 200, 15, [28.1], 111),
    (200, 200, 15, [30.1], 197),
    (1000, 200, 8, [25.3], 328),
]
# hidden, nnz: test accuracy on digits 0 and 1, CPU seconds
MNIST = [(10, 10, 0.9910, 12), (10, 50, 0.9940, 12), (10, 200, 0.9970, 12),
         (100, 50, 0.9940, 105), (100, 200, 0.9955, 105)]
# hidden, nnz: PSNR, CPU seconds
INR = [(10, 50, 42.1, 19), (10, 200, 61.5, 19), (10, 1000, 164, 19),
       (50, 50, 36.7, 61), (50, 200, 64.3, 61), (50, 1000, 102, 61)]
# length, nnz, measurements: relative error, CPU seconds
SENSE = [(1000, 10, 200, 3e-9, 4), (1000, 20, 400, 3e-9, 4)]


def run(arguments, words):
    command = [arguments.reliht, *map(str, words), "--json", "--quiet"]
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def runs(arguments, words):
    return [run(arguments, [*words, "--seed", seed]) for seed in range(arguments.seeds)]


def mean(results, key):
    return statistics.mean(r[key] if r[key] is not None else float("inf") for r in results)


def spread(results, key):
    return statistics.stdev(r[key] for r in results) if len(results) > 1 else 0.0


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def head(*names):
    row(*names)
    row(*["---"] * len(names))


def cost(results, reference):
    seconds = mean(results, "cpu_seconds")
    return (f"{seconds:.2f}", f"{reference:g}", f"{reference / seconds:.0f}",
            f"{max(r['peak_rss_bytes'] for r in results) / 1e6:.0f}")


def planted(arguments):
    head("hidden", "nnz", "PSNR dB", "sd", "reference", "CPU s", "reference", "times", "RSS MB")
    for hidden, nnz, epochs, psnr, seconds in PLANTED:
        results = runs(arguments, ["planted", "--hidden", hidden, "--nnz", nnz, "--epochs", epochs])
        row(hidden, nnz, f"{mean(results, 'psnr_db'):.1f}", f"{spread(results, 'psnr_db'):.1f}",
            " ".join(f"{p:.1f}" for p in psnr), *cost(results, seconds))


def mnist(arguments):
    head("hidden", "nnz", "accuracy", "reference", "CPU s", "reference", "times", "RSS MB")
    for hidden, nnz, accuracy, seconds in MNIST:
        results = runs(arguments, ["train", "--data", "mnist", "--classes", "0,1", "--split",
                                   "paper", "--raw", "--batch", 1000, "--epochs", 15, "--hidden",
                                   hidden, "--nnz", nnz])
        row(hidden, nnz, f"{mean(results, 'test_accuracy'):.4f}", f"{accuracy:.4f}",
            *cost(results, seconds))


def digit(path):
    """The first training image of MNIST as PNG."""
    folder = os.environ.get("RELIHT_DATA", "data")
    for name in ("mnist/train-images-idx3-ubyte", "train-images-idx3-ubyte"):
        for suffix, opener in ((".gz", gzip.open), ("", open)):
            file = os.path.join(folder, name + suffix)
            if os.path.exists(file):
                with opener(file, "rb") as stream:
                    pixels = stream.read(16 + 784)[16:]
                break
        else:
            continue
        break
    else:
        raise SystemExit(f"no MNIST in {folder}: run datasets/get mnist, or set RELIHT_DATA")

    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body +
                struct.pack(">I", zlib.crc32(kind + body)))

    rows = b"".join(b"\0" + pixels[28 * y:28 * y + 28] for y in range(28))
    with open(path, "wb") as png:
        png.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0))
                  + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def inr(arguments):
    head("hidden", "nnz", "PSNR dB", "sd", "reference", "CPU s", "reference", "times", "RSS MB")
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "digit.png")
        digit(image)
        for hidden, nnz, psnr, seconds in INR:
            results = runs(arguments, ["inr", "--image", image, "--hidden", hidden, "--nnz", nnz,
                                       "--epochs", 100])
            row(hidden, nnz, f"{mean(results, 'psnr_db'):.1f}",
                f"{spread(results, 'psnr_db'):.1f}", psnr, *cost(results, seconds))


def sense(arguments):
    head("length", "nnz", "measurements", "relative error, largest", "reference", "CPU s",
         "reference", "times", "RSS MB")
    for length, nnz, measurements, error, seconds in SENSE:
        results = runs(arguments, ["sense", "--length", length, "--nnz", nnz, "--measurements",
                                   measurements])
        row(length, nnz, measurements, f"{max(r['weight_rel_error'] for r in results):.0e}",
            f"{error:.0e}", *cost(results, seconds))


def main():
    tables = {"planted": planted, "mnist": mnist, "inr": inr, "sense": sense}
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reliht", default="build/release/reliht")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("table", nargs="*", default=list(tables))
    arguments = parser.parse_args()
    for name in arguments.table:
        if name not in tables:
            parser.error(f"there is no table '{name}', only {', '.join(tables)}")
        print(f"\n**{name}**, {arguments.seeds} seeds\n")
        tables[name](arguments)


if __name__ == "__main__":
    main()
