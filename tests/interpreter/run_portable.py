"""Runs tests of one portable module inside MicroPython, for `portable.py`.

    cd <project>; micropython tests/interpreter/run_portable.py tests.core.test_log test_a test_b

Each test writes a mark when it begins and when it ends, so that whoever reads along knows which
one an interpreter died in or was stopped in. What a test prints lies between the two.
"""

import gc
import sys

MARK = "\x1e"  # ASCII record separator: tells our lines from what tests print


def run(module_name: str, test_names: list[str]) -> None:
    module = __import__(module_name, None, None, ("*",))
    for name in test_names:
        print(MARK + "begin " + name)
        try:
            getattr(module, name)()
        except Exception as error:
            sys.print_exception(error)  # type: ignore[attr-defined]
            print(MARK + "FAIL " + name)
        else:
            print(MARK + "ok " + name)


if __name__ == "__main__":
    # What lives long then lies together; else it lies everywhere in the heap, and a simulated
    # cluster that has run for a while finds no room for anything of size.
    gc.threshold(1 << 20)  # type: ignore[attr-defined]
    sys.path[:1] = [".", "firmware"]
    run(sys.argv[1], sys.argv[2:])
