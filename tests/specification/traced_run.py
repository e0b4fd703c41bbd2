"""host_tools/desktop/run.py, of a node that records itself; portable.

    <interpreter> /.../tests/specification/traced_run.py STATE LOCK_FD <interpreter>

In STATE, each life of the node leaves a file of its own: trace-0.jsonl, trace-1.jsonl...
"""

import json
import os
import sys
import time

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    project = __file__[: __file__.rindex("/tests/")]
    run = project + "/host_tools/desktop/run.py"
    for folder in ("/firmware", "/host_tools/desktop/stand_ins"):
        sys.path.insert(0, project + folder)
    sys.path.append(project)
    record_to(new_file(sys.argv[1]))
    with open(run) as f:
        code = compile(f.read(), run, "exec")
    exec(code, {"__name__": "__main__", "__file__": run})


def new_file(folder: str) -> str:
    lives = [name for name in os.listdir(folder) if name.startswith("trace-")]
    return "%s/trace-%d.jsonl" % (folder, len(lives))


def record_to(path: str) -> None:
    """From its opening on, whatever node there is in this process."""
    from raft.node import Node
    from tests.specification.tracing import Tracer

    opened = Node.open

    def tell(record: "dict[str, Any]") -> None:
        # Before anything of it leaves the node, which may be killed at any time
        record["at"] = time.time_ns() // 1000
        with open(path, "a") as file:
            file.write(json.dumps(record) + "\n")

    def traced_open(node: Node, *args: "Any") -> None:
        opened(node, *args)
        Tracer(node, tell)

    Node.open = traced_open  # type: ignore[method-assign]


main()
