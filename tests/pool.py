"""Processes that share work."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def processes(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many of them. If it is left by an exception, or by Ctrl-C, what waits isn't begun."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin() -> None:
    # A process that took Ctrl-C for an exception would go on with the next piece of work
    signal.signal(signal.SIGINT, signal.SIG_DFL)
