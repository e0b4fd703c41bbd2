"""What `kill -9` leaves of a slow flash: what a power cut leaves of a board's."""

import os
import random
import subprocess
import time
from pathlib import Path

import pytest

from host_tools import desk
from host_tools.desktop.flash import BLOCK_BYTES, PAGE_BYTES
from host_tools.firmware import FIRMWARE
from tests.clusters import INTERPRETERS

BLOCKS = 16
DATA = random.Random(1).randbytes(BLOCKS * BLOCK_BYTES)
ERASED = b"\xff" * len(DATA)
TORN = 10  # kills in the middle of a step that each test waits for
KILLS = 200  # and after how many it gives up; nearly every one hits a step
LONGEST_S = 0.08  # from a child's first step to its end

CHILD = f"""
from host_tools.desktop.flash import BLOCK_BYTES, Flash
flash = Flash("%s", slow=True)
with open("%s", "rb") as f:
    data = f.read()
print("ready")
for block in range({BLOCKS}):
    %s
"""
PROGRAM = "flash.writeblocks(block, data[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES], 0)"
ERASE = "flash.ioctl(6, block)"

each_interpreter = pytest.mark.parametrize("interpreter", INTERPRETERS)


@each_interpreter
@pytest.mark.parametrize(
    ("what", "old", "new", "step"),
    [(PROGRAM, ERASED, DATA, PAGE_BYTES), (ERASE, DATA, ERASED, BLOCK_BYTES)],
    ids=["program", "erase"],
)
def test_a_kill_leaves_whole_steps_and_one_with_any_of_its_bits_done(
    tmp_path: Path, interpreter: str, what: str, old: bytes, new: bytes, step: int
) -> None:
    flash, data = tmp_path / "raft.flash", tmp_path / "data"
    data.write_bytes(DATA)
    command = [*desk.interpreter_command(interpreter), "-c", CHILD % (flash, data, what)]
    torn = 0

    for _ in range(KILLS):
        flash.write_bytes(old)
        kill_at_some_moment(command)
        torn += is_torn(flash.read_bytes(), old, new, step)
        if torn == TORN:
            break

    assert torn == TORN


def kill_at_some_moment(command: list[str]) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # "ready" must not wait for the end
    with subprocess.Popen(
        command, cwd=FIRMWARE.parent, env=environment, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout
            assert child.stdout.readline() == b"ready\n"
            time.sleep(random.uniform(0, LONGEST_S))
        finally:
            child.kill()


def is_torn(found: bytes, old: bytes, new: bytes, step: int) -> bool:
    """Whether one step is half done. All before it must be done, and none after it begun."""
    assert len(found) == len(new)
    done = next(
        (i for i in range(0, len(new), step) if found[i : i + step] != new[i : i + step]), None
    )
    if done is None:
        return False
    after = done + step
    assert found[after:] == old[after:]
    for f, o, n in zip(found[done:after], old[done:after], new[done:after]):
        assert (f ^ o) & (f ^ n) == 0, "a bit is neither the old one nor the new one"
    return found[done:after] != old[done:after]
