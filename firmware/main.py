"""A board's entry: safe mode or not, program, network, node. The same file runs on a desk.

Whatever fails beside the node is told and started again (board/tasks.py). When the node itself
fails, nothing in RAM is to be trusted, and the board starts anew from its flash; when that
happens too often, or the BOOT button says so, it stays in safe mode (board/safe_mode.py).
"""

import asyncio
import gc

from board import safe_mode
from board.flash import raft_partition
from board.safe_mode import Lives, is_held
from board.tasks import Tasks
from raft.events import Events
from raft.interpreter import collect_early, print_exception, unload


class NoRun(Exception):
    """A program that leaves its node alone."""


class Board:
    """What is around a node. settings: as config.json holds them."""

    def __init__(self, settings, lives):
        self._settings = settings
        self._around = settings.get("board", {})
        self._events = Events(settings["id"])
        self._lives = lives
        self._tasks = Tasks(self._events, lives)
        self._watchdog = None
        self._has_node = False
        self._failure = None  # of the node

    def live(self):
        """Come to safe mode, or run until somebody stops it."""
        try:
            self._try_to_live()
        except KeyboardInterrupt:
            self._events("stopped")
            if "watchdog_ms" in self._around:
                from board.watchdog import loosen

                loosen()

    def _try_to_live(self):
        lives = self._lives
        try:
            if lives.cause:
                self._events("restarted", after=lives.cause, crashes=lives.crashes)
            reason = asyncio.run(self._reason_for_safe_mode())
            if reason:
                safe_mode.enter(reason, self._events, self._around)
            else:
                self._run()
        except KeyboardInterrupt:
            raise
        except BaseException as e:
            restart(e, lives, self._events)

    async def _reason_for_safe_mode(self):
        if self._lives.is_loop:
            return "crashes"
        if "button" in self._around and await is_held(self._around["button"]):
            return "button"
        return None

    def _run(self):
        """Run the program, and a node without one if there is none, or it doesn't come so far."""
        if "watchdog_ms" in self._around:
            from board.watchdog import Watchdog

            self._watchdog = Watchdog(self._around["watchdog_ms"])
        if "app" in self._settings:
            self._run_program(self._settings["app"]["name"])
        if not self._has_node:
            from raft.node import Node

            self._run_node(Node(self._settings))
        if self._failure:
            raise self._failure  # whatever the program has made of it

    def _run_program(self, name):
        from raft.program import hosts

        hosts.append(self._host)
        try:
            __import__("apps." + name)
            if not self._has_node:
                raise NoRun("apps/%s.py has to end with node.run()" % name)
        except (Exception, SystemExit) as e:
            if self._has_node:
                raise  # it is the node that has failed
            self._tasks.failed("app", e)

    def _host(self, node):
        self._run_node(node, node.begin)

    def _run_node(self, node, begin=None):
        self._has_node = True
        try:
            asyncio.run(self._serve(node, begin))
        except BaseException as e:
            self._failure = e
            raise

    async def _serve(self, node, begin):
        try:
            await self._open_and_serve(node, begin)
        finally:
            await self._tasks.stop()

    async def _open_and_serve(self, node, begin):
        """begin: starts a program's tasks, as soon as the node is open."""
        settings, events, tasks = self._settings, self._events, self._tasks
        board, counts = self._around, self._lives.facts
        node.events = events
        node.facts.append(counts)
        tasks.start("lives", self._lives.run)
        if self._watchdog:
            tasks.start("watchdog", self._watchdog.run)
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

            console = Console(events, settings.get("deployed", ""), wifi, counts)
            tasks.start("console", console.run)
        if "led" in board:
            from board.led import Glance

            glance = Glance(board, wifi)
            tasks.start("led", glance.run)
        if wifi:
            await wifi.joined.wait()  # names can't be looked up before
        open_node(node)
        others = len(settings["nodes"]) - 1
        for part in (glance, console, self._watchdog):
            if part:
                part.node = node
        if wifi:
            node.facts.append(wifi.facts)
            wifi.on_address = node.greeter.look
        if wifi and others:
            tasks.start("peers", watch_peers, node, others, wifi, events)
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


def configuration():
    """The settings, or None: then the board is in safe mode."""
    from raft.config import ConfigError, load  # here: see open_node

    try:
        return load()
    except ConfigError as e:
        safe_mode.enter(e, Events(0), {})  # another start would find the same
        return None


def restart(error, lives, events=None):
    """Start anew from the flash, since nothing in RAM is to be trusted any more."""
    gc.collect()  # what has failed has left garbage, and may have failed for want of memory
    try:
        if lives:
            lives.crashed()
        print_exception(error)
        (events or Events(0))("reset", error=repr(error))
    except Exception:
        gc.collect()  # it can't even be told: all that counts now is the restart
    safe_mode.restart()


def main():
    lives = None
    try:
        lives = Lives()
        settings = configuration()
        if settings is None:
            return
        collect_early()
        board = Board(settings, lives)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # nobody has foreseen it: else it were a ConfigError
        if lives and lives.is_loop:
            return safe_mode.enter("crashes", Events(0), {})
        return restart(e, lives)
    board.live()


main()
