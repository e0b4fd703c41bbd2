"""A node on a desk: told to end by a signal, it lets another one lead first."""

import asyncio

from host_tools.desktop import system
from raft.node import Node


class DeskNode(Node):
    """Once it takes part, SIGTERM and SIGINT are a KeyboardInterrupt no sooner than it has left."""

    _is_told = False

    async def serve(self):
        watch = asyncio.create_task(self._leave_when_told())
        try:
            await super().serve()
        except Exception:
            if not self._is_told:  # else it ends all the same
                raise
        finally:
            watch.cancel()
        if self._is_told:
            raise KeyboardInterrupt

    async def _leave_when_told(self):
        await system.wait_for_signal()
        self._is_told = True
        try:
            await self.leave()
        finally:
            self.stop()
