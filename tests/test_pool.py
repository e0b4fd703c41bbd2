"""Processes that share work end when they are told to."""

import os
import signal
import subprocess
import sys

from host_tools.processes import PROJECT

PATIENCE_S = 30
WAITING = """
import os, time
from tests.pool import processes
with processes(1) as pool:
    work = [pool.submit(os.getpid)] + [pool.submit(time.sleep, 3600) for _ in range(9)]
    print(work[0].result(), flush=True)
    work[-1].result()
"""


def test_ctrl_c_ends_all_processes_and_does_not_wait_for_what_is_left() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGINT)

        try:
            _, complaint = process.communicate(timeout=PATIENCE_S)
        finally:
            if process.returncode is None:  # or its work would outlive this test
                os.killpg(process.pid, signal.SIGKILL)

    assert process.returncode != 0
    assert "KeyboardInterrupt" in complaint
