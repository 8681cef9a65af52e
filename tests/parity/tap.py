"""tap: numbered results of a test script, as meson reads them."""
import sys

count = bad = 0


def ok(condition, what):
    global count, bad
    count += 1
    bad += not condition
    print(f"{'ok' if condition else 'not ok'} {count} - {what}")


def skip(why):
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def done():
    print(f"1..{count}")
    sys.exit(bad > 0)
