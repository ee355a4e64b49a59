#!/usr/bin/env python3
"""The dense baseline in PyTorch beside `reliht prune`: the same network, batches and epochs.

Trains 784 - hidden - 10 (no bias) by Adam (1e-3) on MNIST or Fashion-MNIST, all of it in float32,
and prints seconds per epoch and accuracies. The data are tensors in memory already scaled; a batch
is rows of them by a new permutation, so that no loader stands in the way. Gradients are multiplied
by a mask, as training between prunings needs it.

With --reliht it runs both programs in turn, --repeats times, and prints the medians of their
seconds and processor seconds per epoch and the ratios. Debian's python3-torch suffices.
"""
import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

DEBIAN = {"fashion-mnist": "/usr/share/dataset-fashion-mnist"}


def read_idx(folder, name):
    import numpy as np

    for path, opener in ((f"{folder}/{name}.gz", gzip.open), (f"{folder}/{name}", open)):
        if os.path.exists(path):
            with opener(path, "rb") as f:
                data = f.read()
            dimensions = data[3]
            shape = [int.from_bytes(data[4 + 4 * i:8 + 4 * i], "big") for i in range(dimensions)]
            return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    sys.exit(f"{folder}/{name} is missing; datasets/get fetches data sets")


def folder_of(options):
    return (options.data_dir or DEBIAN.get(options.data)
            or f"{os.environ.get('RELIHT_DATA', 'data')}/{options.data}")


def train(options):
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    x, y, x_test, y_test = (torch.tensor(read_idx(folder_of(options), name)) for name in (
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"))
    x, x_test = (v.reshape(len(v), -1).float() / 255 for v in (x, x_test))
    y, y_test = y.long(), y_test.long()
    network = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], options.hidden, bias=False), torch.nn.ReLU(),
        torch.nn.Linear(options.hidden, 10, bias=False))
    weights = list(network.parameters())
    masks = [torch.ones_like(w) for w in weights]
    adam = torch.optim.Adam(weights, lr=1e-3)
    loss_of = torch.nn.CrossEntropyLoss()
    wall, cpu = [], []
    for _ in range(options.epochs):
        start = time.perf_counter(), time.process_time()
        order = torch.randperm(len(x))
        for first in range(0, len(x), options.batch):
            rows = order[first:first + options.batch]
            adam.zero_grad(set_to_none=True)
            loss_of(network(x[rows]), y[rows]).backward()
            for weight, mask in zip(weights, masks):
                weight.grad *= mask
            adam.step()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    with torch.no_grad():
        right = [(network(a).argmax(1) == b).float().mean().item()
                 for a, b in ((x, y), (x_test, y_test))]
    return {"seconds_epoch": statistics.median(wall), "cpu_seconds_epoch": statistics.median(cpu),
            "train_accuracy": right[0], "test_accuracy": right[1]}


def shared_words(options):
    words = ["--data", options.data, "--hidden", str(options.hidden), "--batch",
             str(options.batch), "--threads", str(options.threads), "--seed", str(options.seed)]
    return words + (["--data-dir", options.data_dir] if options.data_dir else [])


def prune(options, epochs, log):
    """`reliht prune` without any pruning: the dense network alone."""
    command = [options.reliht, "prune", "train", "--nnz", str((784 + 10) * options.hidden),
               "--epochs", str(epochs), "--log", log, "--json", "--quiet"]
    done = subprocess.run(command + shared_words(options), check=True, capture_output=True,
                          text=True)
    return json.loads(done.stdout.splitlines()[-1])


def run_reliht(options):
    """Processor seconds are those that further epochs add to a run of one."""
    with tempfile.TemporaryDirectory() as folder:
        log = f"{folder}/log.jsonl"
        short = prune(options, 1, log)
        result = prune(options, options.epochs, log)
        with open(log) as lines:
            ends = [0.0] + [json.loads(line)["seconds"] for line in lines]
    cpu = (result["cpu_seconds"] - short["cpu_seconds"]) / (options.epochs - 1)
    return {"seconds_epoch": statistics.median(b - a for a, b in zip(ends, ends[1:])),
            "cpu_seconds_epoch": cpu, "train_accuracy": result["dense_train_accuracy"],
            "test_accuracy": result["dense_test_accuracy"]}


def run_torch(options):
    """In a process of its own, so that idle threads of one side cannot slow the other."""
    command = [sys.executable, __file__, "--epochs", str(options.epochs)] + shared_words(options)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def compare(options):
    sides = {"reliht": [], "torch": []}
    for repeat in range(options.repeats):
        for name, run in (("reliht", run_reliht), ("torch", run_torch)):
            sides[name].append(run(options))
            print(repeat, name, json.dumps(sides[name][-1]), file=sys.stderr, flush=True)
    result = {"hidden": options.hidden, "batch": options.batch, "threads": options.threads}
    for key in ("seconds_epoch", "cpu_seconds_epoch", "test_accuracy"):
        result[key] = {name: statistics.median(run[key] for run in runs)
                       for name, runs in sides.items()}
    for key in ("seconds_epoch", "cpu_seconds_epoch"):
        result["ratio_" + key] = result[key]["reliht"] / result[key]["torch"]
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist", choices=["mnist", "fashion-mnist"])
    parser.add_argument("--data-dir", help="default: Debian's folder, or $RELIHT_DATA/NAME")
    parser.add_argument("--hidden", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reliht", metavar="PROGRAM", help="run this beside PyTorch and compare")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if options.reliht and options.epochs < 2:
        parser.error("--reliht needs --epochs 2 or more")
    if options.reliht:
        compare(options)
    else:
        print(json.dumps(train(options)))


if __name__ == "__main__":
    main()
