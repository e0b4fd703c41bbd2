"""Runs firmware/main.py, as it is, in a folder that takes the place of a board's file system.

    <interpreter> /.../host_tools/desktop/run.py STATE LOCK_FD <interpreter>

STATE: the folder, with `config.json` and `raft.flash`. LOCK_FD: the open file that keeps other
processes out of it. What follows is how to start the interpreter again: `machine.reset()` does.
In config.json, `desk` may name a folder of programs in the place of firmware/apps (`apps`), and
habits of a real board (`habits.py`).
"""

import json
import os
import sys


def main():
    here = __file__[: __file__.rindex("/")]
    project = here[: here.rindex("/host_tools/")]
    firmware = project + "/firmware"
    others = [path for path in sys.path if path not in ("", here)]
    sys.path[:] = [here + "/stand_ins", firmware] + others + [project]
    os.chdir(sys.argv[1])

    from host_tools.desktop import failures, faults, habits, loopback, system

    failures.apply()
    faults.apply()
    habits.apply()
    loopback.take(loopback.ADDRESSES[0])
    system.write_to_reader()
    system.stop_on_signals()
    import raft.node
    from host_tools.desktop.leaving import DeskNode

    raft.node.Node = DeskNode  # type: ignore[misc] # for main.py and programs
    find_apps()
    path = firmware + "/main.py"
    with open(path) as f:
        code = compile(f.read(), path, "exec")
    exec(code, {"__name__": "__main__", "__file__": path})


def find_apps():
    try:
        with open("config.json") as f:
            folder = json.load(f).get("desk", {}).get("apps")
    except (OSError, ValueError):
        return  # firmware/main.py says what is wrong
    if folder:
        import apps

        # A list, or a text in MicroPython
        apps.__path__ = folder if isinstance(apps.__path__, str) else [folder]


try:
    main()
except KeyboardInterrupt:
    sys.exit(0)  # it came before main.py was ready for it
