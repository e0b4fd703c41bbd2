"""Helpers of portable tests: they run under MicroPython as under CPython, without pytest."""


def raises(exception, function, *args):
    """Calls the function, which must raise this exception; returns what it raised."""
    try:
        function(*args)
    except exception as error:
        return error
    raise AssertionError(f"{exception.__name__} not raised")
