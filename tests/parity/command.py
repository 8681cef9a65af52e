"""command: a program of ours, run as a user would."""
import subprocess


def run(program, *words, want=0, ranks=0):
    """Did it end with exit status `want`, and what did it say. ranks: by mpirun, on so many."""
    line = (["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks else []) + [program, *words]
    p = subprocess.run(line, capture_output=True, text=True)
    if p.returncode != want:
        print("#", " ".join(words), "exit", p.returncode, "wanted", want, (p.stdout + p.stderr)[-900:].replace("\n", "\n# "))
    return p.returncode == want, p.stdout + p.stderr
