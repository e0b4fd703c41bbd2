"""Runs all scenarios of one module of the lab in this interpreter, in full; portable.

    python tests/lab/course.py tests.lab.test_elections 1

The second argument is the seed. Each scenario is one line of JSON: its figures, or what it has
failed with.
"""

import gc
import json
import sys


def run(module_name: str, seed: int) -> None:
    from tests.lab.lab import Run

    module = __import__(module_name, None, None, ("*",))
    Run.seed = seed
    Run.is_full = True
    for name in [name for name in module.__dict__ if name.startswith("test_")]:
        try:
            getattr(module, name)()
            print(json.dumps(Run.figures))
        except Exception as error:
            print(json.dumps({"failed": "%s: %s: %s" % (name, type(error).__name__, error)}))


if __name__ == "__main__":
    if sys.implementation.name == "micropython":
        gc.threshold(1 << 20)  # type: ignore[attr-defined]
    sys.path[:1] = [".", "firmware"]
    run(sys.argv[1], int(sys.argv[2]))
