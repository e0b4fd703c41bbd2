"""The network of a desk: loopback, where a board has one address, and a broadcast reaches all."""

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")


def take(address):
    """This board is at `address` (str) from now on, for all sockets that its node will open."""
    try:
        from raft import udp  # the board's own, wherever that lies
    except ImportError:
        return  # it has none
    udp.ANY = udp.OWN = address
    udp.BROADCAST = ADDRESSES  # type: ignore[assignment]
