"""What is typed on the serial line while a node runs: Enter makes a board say what it is.

`raftctl` asks a board so, which goes on meanwhile. Ctrl-C never comes here.
"""

import select
import sys

import machine

from raft.interpreter import NAME, sleep_ms

LOOK_MS = 200
ENTER = b"\r\n"


class Console:
    """Answers by a `board` event. deployed: what was deployed, as raftctl has marked it (str)."""

    def __init__(self, events, deployed):
        self.node = None  # until there is one
        self._events = events
        self._deployed = deployed

    async def run(self):
        """Answer until nobody is at the other end of the line any more."""
        # Bytes: sys.stdin itself would take noise for half a character, and wait for the rest.
        line = sys.stdin.buffer
        poller = select.poll()
        poller.register(sys.stdin, select.POLLIN)
        while True:
            while poller.poll(0):
                byte = line.read(1)
                if not byte:
                    return
                if byte in ENTER:
                    self._introduce()
            await sleep_ms(LOOK_MS)

    def _introduce(self):
        self._events(
            "board",
            # such as "Generic ESP32S3 module with ESP32-S3" (ports/esp32/mpconfigport.h)
            chip=sys.implementation._machine.split(" ")[-1].replace("-", "").lower(),
            mac=machine.unique_id().hex(),
            interpreter=NAME,
            deployed=self._deployed,
            role=self.node.core.role_name if self.node else "joining",
        )
