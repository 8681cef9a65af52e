#!/usr/bin/python3
"""What a second rank brings: a training step of Swin-T at 224 px, batch 8 a rank, by the shipped program with data from shards, augmentation
and the loader's thread inside the rank's one core; and the same step in torch, alone and as DistributedDataParallel over gloo, which gets its
batch for nothing. One thread a process, each on a core of its own, all in turn, several rounds; medians over steps. Wants a quiet machine.

  two_ranks.py BUILD [--rounds N] [--steps N] [--encoder NAME] [--python PEER] [--set KEY=VALUE ...]

PEER: a Python with torch and torchvision (/usr/bin/python3). Its OpenBLAS gets the kernels that ours has.

Prints images/s, the ratios, the shares of a step that wait for data (load) and for the other rank (wait) or go into the sum, and what two
cores get of the memory bandwidth (bench_streams)."""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

BATCH, SIDE = 8, 224
HERE = os.path.dirname(os.path.abspath(__file__))


def torch_worker(steps):
    import time

    import torch

    from ladder_torch import swin  # without drop path, as ours here

    torch.set_num_threads(1)
    torch.manual_seed(0)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    net = swin("swin_t").train()
    if size > 1:
        torch.distributed.init_process_group("gloo")
        net = torch.nn.parallel.DistributedDataParallel(net)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.05)
    x, y = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(4, (BATCH,))
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        opt.zero_grad(set_to_none=False)
        torch.nn.functional.cross_entropy(net(x), y).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        times.append(time.perf_counter() - start)
    if rank == 0:
        print(json.dumps(times))


def run_torch(python, core, size, steps):
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT="29511")
    if core:
        env["OPENBLAS_CORETYPE"] = core
    ps = [subprocess.Popen(["taskset", "-c", str(r), python, os.path.abspath(__file__), "--torch-worker", str(steps)], env=dict(env, RANK=str(r)),
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for r in range(size)]
    out = [p.communicate()[0] for p in ps]
    if any(p.returncode for p in ps):
        return None
    return [{"step_s": t} for t in json.loads(out[0])[2:]]


def run_ours(build, folder, size, steps, encoder, settings):
    job = os.path.join(folder, "job.cfg")
    with open(job, "w") as f:
        f.write(f'''run = "{folder}/run"; data_root = "{folder}/shards";
model : {{ encoder = "{encoder}"; drop_path = 0.0; }};
train : {{ steps = {steps}; threads = 1; log_every = 1; checkpoint_every = 0; validate_every = 0; }};
tasks = ( {{ name = "quadrant"; data = "tiny-quadrant"; image = [{SIDE}, {SIDE}]; batch = {BATCH}; units = {size}; augment = "histology"; }} );
''')
    env = dict(os.environ, OMP_NUM_THREADS="1", OMPI_MCA_btl_vader_single_copy_mechanism="none")
    if os.getuid() == 0:
        env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    sets = [w for s in settings for w in ("--set", s)]
    subprocess.run(["mpirun", "-q", "--bind-to", "core", "-n", str(size), f"{build}/src/medley", "train", job, "--fresh"] + sets, env=env, check=True,
                   stdout=subprocess.DEVNULL)
    steps = [json.loads(line) for line in open(f"{folder}/run/record.jsonl")]
    return [s for s in steps if s["event"] == "step"][2:]


def streams(build, size):
    ps = [subprocess.Popen(["taskset", "-c", str(r), f"{build}/tests/bench/bench_streams", "2"], stdout=subprocess.PIPE, text=True) for r in range(size)]
    return sum(float(p.communicate()[0].split()[0]) for p in ps)


def report(got):
    rate = {}
    for (who, size), steps in got.items():
        if who == "streams":
            continue
        rate[who, size] = size * BATCH / statistics.median(s["step_s"] for s in steps)
        line = f"{who} on {size}: {rate[who, size]:.3f} images/s"
        if who == "ours":
            whole = statistics.median(s["step_s"] for s in steps)
            for key in ("load_s", "wait_s", "sum_s"):
                line += f"; {key[:-2]} {100 * statistics.median(s[key] for s in steps) / whole:.2f} %"
        print(line)
    print(f"ours, 2 ranks over 1: {rate['ours', 2] / rate['ours', 1]:.3f}")
    for size in (1, 2):
        if ("torch", size) in rate:
            print(f"ours over torch on {size}: {rate['ours', size] / rate['torch', size]:.3f}")
    bandwidth = [max(got["streams", size]) for size in (1, 2)]
    print(f"memory bandwidth: {bandwidth[0]:.1f} GB/s on one core, {bandwidth[1]:.1f} GB/s on two ({bandwidth[1] / bandwidth[0]:.2f} times)", flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=10)
    p.add_argument("--encoder", default="swin_t")
    p.add_argument("--python", default="/usr/bin/python3")
    p.add_argument("--set", action="append", default=[])
    a = p.parse_args()
    build = os.path.abspath(a.build)
    core = subprocess.run([f"{build}/tests/bench/bench_ladder", "--core"], capture_output=True, text=True, check=True).stdout.strip()
    folder = tempfile.mkdtemp(prefix="medley-two-")
    got = {}
    try:
        subprocess.run([f"{build}/tests/mpi/make_shards", f"{folder}/shards", "quadrant=400,0,0"], check=True)
        for i in range(a.rounds):
            for who, size in (("ours", 1), ("ours", 2), ("torch", 1), ("torch", 2)):
                r = run_ours(build, folder, size, a.steps, a.encoder, a.set) if who == "ours" else run_torch(a.python, core, size, a.steps)
                if r:
                    got.setdefault((who, size), []).extend(r)
            for size in (1, 2):
                got.setdefault(("streams", size), []).append(streams(build, size))
            print(f"after round {i + 1} of {a.rounds}:", flush=True)
            report(got)
    finally:
        shutil.rmtree(folder)


if len(sys.argv) == 3 and sys.argv[1] == "--torch-worker":
    torch_worker(int(sys.argv[2]))
else:
    main()
