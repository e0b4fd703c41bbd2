"""A board's entry: safe mode or not, program, network, node. The same file runs on a desk.

Whatever fails beside the node is told and started again (board/tasks.py). When the node itself
fails, nothing in RAM is to be trusted, and the board starts anew from its flash; when that
happens too often, or the BOOT button says so, it stays in safe mode (board/safe_mode.py).
"""

import asyncio

import machine

from board.flash import raft_partition
from board.safe_mode import Lives, enter, is_held
from board.tasks import Tasks
from raft.events import Events
from raft.interpreter import collect_early, print_exception, sleep_ms, unload

RESTART_MS = 1000  # a pause before a reset, so that a crash at start can be read and stopped


class NoRun(Exception):
    """A program that leaves its node alone."""


class Board:
    """What is around a node. settings: as config.json holds them."""

    def __init__(self, settings, events, lives):
        self._settings = settings
        self._events = events
        self._lives = lives
        self._tasks = Tasks(events)
        self._has_node = False

    async def reason_for_safe_mode(self):
        if self._lives.is_loop:
            return "crashes"
        board = self._settings.get("board", {})
        if "button" in board and await is_held(board["button"]):
            return "button"
        return None

    def run(self):
        """Run the program, and a node without one if there is none, or it doesn't come so far."""
        if "app" in self._settings:
            self._run_program(self._settings["app"]["name"])
        if not self._has_node:
            from raft.node import Node

            asyncio.run(self._serve(Node(self._settings)))

    def _run_program(self, name):
        from raft.program import hosts

        hosts.append(self._host)
        try:
            __import__("apps." + name)
            if not self._has_node:
                raise NoRun("apps/%s.py has to end with node.run()" % name)
        except Exception as e:
            if self._has_node:
                raise  # it is the node that has failed
            self._tasks.failed("app", e)

    def _host(self, node):
        self._has_node = True
        asyncio.run(self._serve(node, node.begin))

    async def _serve(self, node, begin=None):
        """begin: starts a program's tasks, as soon as the node is open."""
        settings, events, tasks = self._settings, self._events, self._tasks
        board = settings.get("board", {})
        node.events = events
        tasks.start("lives", self._lives.run)
        # What a board hasn't got, it doesn't load.
        wifi = glance = console = None
        if "wifi" in settings:
            from board.wifi import Wifi, watch_peers

            network = settings["wifi"]
            name = "raft-%d" % settings["id"]
            wifi = Wifi(network["ssid"], network["password"], name, events)
            tasks.start("wifi", wifi.run)
        if board:
            from board.console import Console

            console = Console(events, settings.get("deployed", ""), wifi)
            tasks.start("console", console.run)
        if "led" in board:
            from board.led import Glance

            glance = Glance(board, wifi)
            tasks.start("led", glance.run)
        if wifi:
            await wifi.joined.wait()  # names can't be looked up before
        open_node(node)
        others = len(settings["nodes"]) - 1
        if glance:
            glance.node = node
        if console:
            console.node = node
        if wifi:
            node.facts = wifi.facts
            wifi.on_address = node.greeter.look
        if wifi and others:
            tasks.start("peers", watch_peers, node, others, wifi, events)
        if "watchdog_ms" in board:
            from board.watchdog import feed

            tasks.start("watchdog", feed, node, board["watchdog_ms"])
        if begin:
            begin(tasks)
        settings.clear()
        await node.serve()


def open_node(node):
    import board.identity  # here, so that nothing keeps it when it is unloaded

    node.open(raft_partition(), board.identity)
    # What isn't needed again is some KB of heap.
    unload("board", "identity")
    unload("raft", "recovery")
    unload("raft", "config")


async def pause():
    await sleep_ms(RESTART_MS)


def configuration():
    """The settings, or None: then the board is in safe mode."""
    from raft.config import ConfigError, load  # here: see open_node

    try:
        return load()
    except ConfigError as e:
        enter(e, Events(0), {})  # another start would find the same
        return None


def main():
    settings = configuration()
    if settings is None:
        return
    events = Events(settings["id"])
    around = settings.get("board", {})
    collect_early()
    lives = Lives()
    board = Board(settings, events, lives)
    try:
        if lives.cause:
            events("restarted", after=lives.cause, crashes=lives.crashes)
        reason = asyncio.run(board.reason_for_safe_mode())
        if reason:
            return enter(reason, events, around)
        board.run()
    except KeyboardInterrupt:
        events("stopped")
        if "watchdog_ms" in around:
            from board.watchdog import loosen

            loosen()
    except Exception as e:
        print_exception(e)
        lives.crashed()
        events("reset", error=repr(e))
        asyncio.run(pause())  # a task, for MicroPython's asyncio runs nothing else
        machine.reset()


main()
