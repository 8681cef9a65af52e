"""conversion: one run of medley-data convert in the working folder, for scripts that compare what comes out."""
import subprocess


def convert(program, recipe, *more):
    with open("set.cfg", "w") as f:
        f.write(recipe)
    run = subprocess.run([program, "convert", "set.cfg", "--source", ".", "--out", "out", "--force", *more], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr
