"""Clocks that go wrong and networks with detours, for nodes on a desk."""

import os
import socket
import subprocess

import pytest

from host_tools import desk
from host_tools.firmware import FIRMWARE
from tests.clusters import INTERPRETERS

DATAGRAM_S = 10.0

START = f"""
import sys
sys.path.insert(0, "{FIRMWARE}")
from host_tools.desktop import faults
from raft.interpreter import ticks_ms as real_ms, ticks_diff, sleep_ms as real_sleep_ms
faults.apply()
"""
CLOCK = (
    START
    + """
import asyncio
from raft.interpreter import sleep_ms, ticks_ms

async def main():
    before, start, after = real_ms(), ticks_ms(), real_ms()
    await sleep_ms(300)
    early, end, late = real_ms(), ticks_ms(), real_ms()
    print(ticks_diff(early, after), ticks_diff(end, start), ticks_diff(late, before))

asyncio.run(main())
"""
)
SEND = (
    START
    + """
from raft.udp import Endpoint, resolve
Endpoint(None).send(b"by detour", resolve("127.0.0.1", %d))
Endpoint(None).send(b"straight on", resolve("127.0.0.1", %d))
"""
)

each_interpreter = pytest.mark.parametrize("interpreter", INTERPRETERS)


def run(interpreter: str, program: str, **environment: str) -> str:
    return subprocess.run(
        [*desk.interpreter_command(interpreter), "-c", program],
        cwd=FIRMWARE.parent,
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


@each_interpreter
@pytest.mark.parametrize("permille", [500, 1100, 3000])
def test_a_clock_may_be_fast_or_slow(interpreter: str, permille: int) -> None:
    told = run(interpreter, CLOCK, RAFT_DESK_CLOCK=str(permille))

    least, local, most = map(int, told.split())
    assert least * permille // 1000 - 1 <= local <= most * permille // 1000 + 2
    assert local >= 300  # its own ms, and no fewer


@each_interpreter
def test_what_goes_to_a_port_may_go_to_another_instead(interpreter: str) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as usual,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as via,
    ):
        for receiver in (usual, via):
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(DATAGRAM_S)
        ports = usual.getsockname()[1], via.getsockname()[1]

        run(interpreter, SEND % ports, RAFT_DESK_VIA=f"{ports[0]}:{ports[1]}")

        assert sorted([via.recv(100), via.recv(100)]) == [b"by detour", b"straight on"]
