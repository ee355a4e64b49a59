"""What the five figures share: panels, their grids, and how each becomes one `reliht sweep`.

A panel is a task over hidden x nnz x seeds by iterative hard thresholding (aiht), iterative
magnitude pruning of a dense network (prune) and, for several real outputs, the solver recover. The full grids are those of the authors'
runs (README of voilalab/MLP-IHT); `small` replaces parts of a panel.
"""
import argparse
import array
import dataclasses
import gzip
import math
import os
import random
import struct
import subprocess
import sys
import zlib

# Linux carries the peak memory of a process over to the program it becomes: without a shell between
# them, a child of Python would report Python's.
SHELL = ["sh", "-c", '"$@"; exit', "sh"]
WIDE = "1,2,5,10,20,50,100,200,500,1000"


@dataclasses.dataclass
class Panel:
    name: str
    task: str
    hidden: str
    nnz: str
    options: list  # for both methods
    aiht: list     # for one
    prune: list
    small: dict    # fields that the small preset replaces
    seeds: str = "0-2"
    methods: str = "aiht,prune"
    needs: str = ""        # a data set
    prepare: object = None  # (arguments, folder) -> options that name files made for the panel


def one_method(method, options):
    """["--epochs", "3"] as options of one method alone."""
    return [f"--{method}:{word[2:]}" if word.startswith("--") else word for word in options]


# ---------------------------------------------------------------- data

def missing(name, folder):
    raise SystemExit(f"{name} is not in '{folder}': run `datasets/get {name} {folder}`, or give the "
                     f"folder that has it with --data-dir")


def find(folder, name, files):
    """The first of `files` (also compressed) in the folder or in the data set's own folder."""
    for place in (os.path.join(folder, name), folder):
        for file in files:
            for path in (os.path.join(place, file), os.path.join(place, file + ".gz")):
                if os.path.exists(path):
                    return path
    return missing(name, folder)


def read(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        return file.read()


def check(panel, arguments):
    if panel.needs == "mnist":
        find(arguments.data_dir, "mnist", ["train-images-idx3-ubyte"])
    if panel.needs == "cifar10":
        cifar_batch(arguments, "test_batch")


def cifar_batch(arguments, batch):
    return find(arguments.data_dir, "cifar10",
                [f"cifar-10-batches-bin/{batch}.bin", f"{batch}.bin"])


def mnist_digit(arguments):
    """The 5001st image of the digit 1 in file order: the first of its test images as published."""
    seen = 0
    for part in ("train", "t10k"):
        labels = read(find(arguments.data_dir, "mnist", [f"{part}-labels-idx1-ubyte"]))[8:]
        images = read(find(arguments.data_dir, "mnist", [f"{part}-images-idx3-ubyte"]))[16:]
        for i, label in enumerate(labels):
            seen += label == 1
            if seen == 5001:
                return images[784 * i:784 * (i + 1)]
    return missing("mnist", arguments.data_dir)


def write_png(path, width, pixels):
    def chunk(kind, body):
        return (struct.pack(">I", len(body)) + kind + body +
                struct.pack(">I", zlib.crc32(kind + body)))

    height = len(pixels) // width
    rows = b"".join(b"\0" + pixels[width * y:width * (y + 1)] for y in range(height))
    with open(path, "wb") as png:
        png.write(b"\x89PNG\r\n\x1a\n"
                  + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                  + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def digit_options(arguments, folder):
    path = os.path.join(folder, "digit.png")
    write_png(path, 28, mnist_digit(arguments))
    return ["--image", path]


def write_npy(path, shape, values):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00\x76\x00" + header.encode())
        array.array("f", values).tofile(file)  # little-endian machines


def cifar_image(arguments):
    """Number 1000 of the test images of airplanes and automobiles: 3 planes of 32 x 32."""
    records = read(cifar_batch(arguments, "test_batch"))
    kept = [i for i in range(0, len(records), 3073) if records[i] in (0, 1)]
    if len(kept) <= 1000:
        raise SystemExit("test_batch.bin of CIFAR-10 is not whole: see datasets/README.md")
    return records[kept[1000] + 1:kept[1000] + 3073]


def colour_options(arguments, folder, features=1500, sigma=5.0, sigma_colour=0.05):
    """One sample per pixel and channel, as published: random Fourier features of (row, column,
    channel), frequencies with a smaller deviation for the channel."""
    pixels = cifar_image(arguments)
    draw = random.Random(0)
    frequencies = [(draw.gauss(0, sigma), draw.gauss(0, sigma), draw.gauss(0, sigma_colour))
                   for _ in range(features // 2)]
    rows = []
    for i in range(3072):
        place = (i % 1024 // 32, i % 32, i // 1024)
        angles = [2 * math.pi * sum(p * f for p, f in zip(place, frequency))
                  for frequency in frequencies]
        rows += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
    x, y = (os.path.join(folder, name) for name in ("x.npy", "y.npy"))
    write_npy(x, f"(3072, {features})", rows)
    write_npy(y, "(3072,)", [pixel / 255 for pixel in pixels])
    return ["--x", x, "--y", y]


# ---------------------------------------------------------------- the command

def sweep(panel, arguments):
    folder = os.path.join(arguments.out, panel.name)
    os.makedirs(folder, exist_ok=True)
    options = list(panel.options)
    if panel.task == "train" and panel.needs and not panel.prepare:
        options += ["--data", panel.needs, "--data-dir", arguments.data_dir]
    if panel.prepare:
        options += panel.prepare(arguments, folder)
    methods = arguments.method or panel.methods
    command = [arguments.reliht, "sweep", panel.task, "--out", folder, "--hidden", panel.hidden,
               "--nnz", panel.nnz, "--seeds", arguments.seeds or panel.seeds, "--method",
               methods, *options, "--backend", arguments.backend]
    if arguments.jobs:
        command += ["--jobs", str(arguments.jobs)]
    for method, own in (("aiht", panel.aiht), ("prune", panel.prune)):
        if method in methods.split(","):
            command += one_method(method, own)
    print(f"\n== {panel.name}\n{' '.join(command)}", flush=True)
    return subprocess.run(command, check=False).returncode


def main(description, panels):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--small", action="store_true", help="the small preset (README.md)")
    parser.add_argument("--reliht", default="build/release/reliht", help="the program")
    parser.add_argument("--data-dir", default=os.environ.get("RELIHT_DATA", "data"),
                        help="folder of the data sets (default: $RELIHT_DATA, or data)")
    parser.add_argument("--out", help="folder of the results (default: out/figures[-small])")
    parser.add_argument("--jobs", type=int, help="cells at a time (default: all processors)")
    parser.add_argument("--backend", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--method", help="other methods than those of the panels, as in aiht,prune")
    parser.add_argument("--seeds", help="other seeds than those of the panels, as in 0-9")
    parser.add_argument("panel", nargs="*", help="only these: " + ", ".join(p.name for p in panels))
    arguments = parser.parse_args()
    arguments.out = arguments.out or ("out/figures-small" if arguments.small else "out/figures")
    for name in arguments.panel:
        if name not in [panel.name for panel in panels]:
            parser.error(f"there is no panel '{name}'")
    chosen = [panel for panel in panels if not arguments.panel or panel.name in arguments.panel]
    for panel in chosen:
        check(panel, arguments)
    if arguments.small:
        chosen = [dataclasses.replace(panel, **panel.small) for panel in chosen]
    sys.exit(max(sweep(panel, arguments) for panel in chosen))
