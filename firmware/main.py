"""A board's entry: safe mode or not, network, node, app. The same file runs on a desk.

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
from raft.node import Node

RESTART_MS = 1000  # a pause before a reset, so that a crash at start can be read and stopped


async def start(settings, events, lives):
    board = settings.get("board", {})
    if lives.cause:
        events("restarted", after=lives.cause, crashes=lives.crashes)
    if lives.is_loop:
        return enter("crashes", events, board)
    if "button" in board and await is_held(board["button"]):
        return enter("button", events, board)
    tasks = Tasks(events)
    tasks.start("lives", lives.run)
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
    node = make_node(settings, events)
    others = len(settings["nodes"]) - 1
    if glance:
        glance.node = node
    if console:
        console.node = node
    if wifi:
        node.facts = wifi.facts
        if node.discovery:
            wifi.on_address = node.discovery.look
    if wifi and others:
        tasks.start("peers", watch_peers, node, others, wifi, events)
    if "watchdog_ms" in board:
        from board.watchdog import feed

        tasks.start("watchdog", feed, node, board["watchdog_ms"])
    if "app" in settings:
        settings["app"]["nodes"] = settings["nodes"]  # for a client (raft/client.py)
        tasks.start("app", run_app, node, settings["app"])
    settings.clear()
    await node.serve()


def make_node(settings, events):
    import board.identity  # here, so that nothing keeps it when it is unloaded

    node = Node(settings, events=events)
    node.open(raft_partition(), board.identity)
    # What isn't needed again is some KB of heap.
    unload("board", "identity")
    unload("raft", "recovery")
    unload("raft", "config")
    return node


async def run_app(node, settings):
    app = __import__("apps." + settings["name"], None, None, ("run",))
    await app.run(node, settings)


async def pause():
    await sleep_ms(RESTART_MS)


def main():
    from raft.config import ConfigError, load  # here: see make_node

    try:
        settings = load()
    except ConfigError as e:
        return enter(e, Events(0), {})  # another start would find the same
    events = Events(settings["id"])
    has_watchdog = "watchdog_ms" in settings.get("board", {})
    collect_early()
    lives = Lives()
    try:
        asyncio.run(start(settings, events, lives))
    except KeyboardInterrupt:
        events("stopped")
        if has_watchdog:
            from board.watchdog import loosen

            loosen()
    except Exception as e:
        print_exception(e)
        lives.crashed()
        events("reset", error=repr(e))
        asyncio.run(pause())  # a task, for MicroPython's asyncio runs nothing else
        machine.reset()


main()
