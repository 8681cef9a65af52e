#!/usr/bin/python3
"""Runs the speed ladder: our driver and the peers in turn, item by item, several rounds, and keeps the least time of each. Prints a table
in Markdown. One core (taskset), one process at a time, processor time of a single thread: a machine with other work gives much the same
ratios.

  ladder.py DRIVER [--rounds N] [--seconds S] [--cpu N] [--items PATTERN,...] [--no-peer]

MEDLEY_TORCH2=/path/to/python: a second peer, a newer torch in a virtual environment of its own, in fp32 and under bf16 autocast."""
import argparse
import fnmatch
import os
import platform
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEAK = ("step_swin_t", "step_swin_v2_t", "joint")


def note(text):
    print(text, file=sys.stderr, flush=True)


class Side:
    """One process that answers "NAME SECONDS" with "NAME BEST"."""

    def __init__(self, title, command, pin, env):
        self.title, self.command, self.env, self.best = title, pin + command, env, {}
        self.p = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def measure(self, name, seconds):
        self.p.stdin.write("%s %g\n" % (name, seconds))
        self.p.stdin.flush()
        word = self.p.stdout.readline().split()
        if len(word) != 2 or word[0] != name:
            raise SystemExit("ladder: %s stopped at %s" % (self.title, name))
        if word[1] != "-":
            self.best[name] = min(self.best.get(name, 1e30), float(word[1]))

    def peak(self, name):
        r = subprocess.run(self.command + ["--peak", name], capture_output=True, text=True, env=self.env, check=True)
        return float(r.stdout)

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def peers(pin, env, wanted):
    out, script = [], os.path.join(HERE, "ladder_torch.py")
    pythons = [("torch", ["/usr/bin/python3", script])] if wanted else []
    if wanted and os.environ.get("MEDLEY_TORCH2"):
        for title, more in (("torch 2", []), ("torch 2 bf16", ["--bf16"])):
            pythons.append((title, [os.environ["MEDLEY_TORCH2"], script] + more))
    for title, command in pythons:
        r = subprocess.run(command + ["--version"], capture_output=True, text=True, env=env)
        if r.returncode:
            note("ladder: no %s here (%s)" % (title, r.stderr.strip().splitlines()[-1] if r.stderr.strip() else "?"))
            continue
        side = Side(title, command, pin, env)
        side.version = r.stdout.strip()
        out.append(side)
    return out


def load():
    with open("/proc/loadavg") as f:
        return f.read().split()[0]


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def cell(rate):
    return "%.0f" % rate if rate >= 100 else "%.1f" % rate if rate >= 10 else "%.2f" % rate


def table(items, ours, others):
    # the limit is the fastest large GEMM and triad that anybody reached
    limit = {n: float(i[4]) / min(s.best.get(n, 1e30) for s in [ours] + others) for n, i in items.items() if n in ("gemm", "triad")}
    print("| what | unit | ours |" + "".join(" %s |" % s.title for s in others) + " limit | share of the limit |"
          + "".join(" ours / %s |" % s.title for s in others))
    print("|---|---|---:|" + "---:|" * (2 * len(others) + 2))
    for name, (_, label, shown, unit, work, bound) in items.items():
        if name not in ours.best:
            continue
        t, rate = ours.best[name], float(shown) / ours.best[name]
        row = [label, unit, cell(rate)]
        row += [cell(float(shown) / s.best[name]) if name in s.best else "" for s in others]
        row += ["%s %s" % (cell(limit[bound]), "GFLOP/s" if bound == "gemm" else "GB/s")]
        row += ["%.0f %%" % (100 * float(work) / t / limit[bound])]
        row += ["%.2f" % (s.best[name] / t) if name in s.best else "" for s in others]
        print("| " + " | ".join(row) + " |")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("driver")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=1.0, help="per item, side and round")
    ap.add_argument("--cpu", default=str(max(os.sched_getaffinity(0))))
    ap.add_argument("--items", default="*")
    ap.add_argument("--no-peer", action="store_true")
    a = ap.parse_args()
    pin = ["taskset", "-c", a.cpu] if shutil.which("taskset") else []
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    ask = lambda word: subprocess.run([a.driver, word], capture_output=True, text=True, env=env, check=True).stdout
    core = ask("--core").strip()
    if core:
        env["OPENBLAS_CORETYPE"] = core  # the peer's BLAS gets the better kernels too
    items = {line.split("|")[0]: line.split("|") for line in ask("--list").splitlines()}
    chosen = {n: i for n, i in items.items() if n in ("gemm", "triad") or any(fnmatch.fnmatch(n, p) for p in a.items.split(","))}
    others = peers(pin, env, not a.no_peer)
    peaks = list(others)
    ours = Side("ours", [a.driver], pin, env)
    if "bf16" in ask("--precisions"):
        mine = Side("ours bf16", [a.driver, "--bf16"], pin, env)
        mine.version = "the same program, train.precision = bf16"
        others.insert(0, mine)
    before = load()
    for r in range(a.rounds):
        for k, name in enumerate(chosen):
            note("round %d of %d, item %d of %d: %s" % (r + 1, a.rounds, k + 1, len(chosen), name))
            for side in [ours] + others:
                side.measure(name, a.seconds)
    for side in [ours] + others:
        side.close()
    print("%s, one core, batch 8, fp32; least of %d rounds of %g s, sides in turn; load of the machine %s before, %s after.\n"
          % (cpu_name(), a.rounds, a.seconds, before, load()))
    for s in others:
        print("%s: %s%s\n" % (s.title, s.version, ", OPENBLAS_CORETYPE=%s" % core if core and "2" not in s.title else ""))
    table(chosen, ours, others)
    names = [n for n in PEAK if n in chosen]
    if names:
        print("\n| peak memory of the process, MiB | ours |" + "".join(" %s | ours / %s |" % (s.title, s.title) for s in peaks))
        print("|---|---:|" + "---:|---:|" * len(peaks))
    for n in names:
        mine = ours.peak(n)
        row = [items[n][1], "%.0f" % (mine / 2**20)]
        for s in peaks:
            his = s.peak(n)
            row += ["%.0f" % (his / 2**20), "%.2f" % (mine / his)]
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
