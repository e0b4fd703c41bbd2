"""What is typed on the serial line while a node runs: a board answers, and the node goes on.

Enter: a `board` event, of what the board is and how it is. `l`: a `link` event for each other
node, and a `links` event at the end (board/links.py). `raftctl` asks so. Ctrl-C never comes here.
"""

import gc
import select
import sys

import machine

from raft.interpreter import NAME, free_heap, sleep_ms, unload

LOOK_MS = 200
ENTER = b"\r\n"
LINKS = b"l"


class Console:
    """Answers what is typed.

    deployed: what was deployed, as raftctl has marked it (str). wifi: None if there is none to
    join. counts: a dict that it tells too. node: None until there is one.
    """

    def __init__(self, events, deployed, wifi, counts):
        self.node = None
        self._counts = counts
        self._events = events
        self._deployed = deployed
        self._wifi = wifi

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
                elif byte == LINKS:
                    await self._measure_links()
            await sleep_ms(LOOK_MS)

    def _introduce(self):
        facts = self._wifi.link() if self._wifi else {}
        facts.update(self._counts)
        if self.node:
            core = self.node.core
            facts.update(role=core.role_name(), term=core.term, leader=core.leader)
        else:
            facts["role"] = "joining"
        gc.collect()  # what is garbage isn't in use
        self._events(
            "board",
            # such as "Generic ESP32S3 module with ESP32-S3" (ports/esp32/mpconfigport.h)
            chip=sys.implementation._machine.split(" ")[-1].replace("-", "").lower(),
            mac=machine.unique_id().hex(),
            interpreter=NAME,
            deployed=self._deployed,
            heap=free_heap() or 0,
            **facts,
        )

    async def _measure_links(self):
        from board.links import measure  # some KB of heap, for a moment

        await measure(self.node, self._events)
        del measure
        unload("board", "links")
