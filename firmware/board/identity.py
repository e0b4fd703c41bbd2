"""The second place for the identity of the raft flash: NVS, a partition of its own.

A module with `load` and `save` is what node.Node.open wants as `memory`.
"""

from esp32 import NVS

NAMESPACE = "raft"
KEY = "identity"
NOT_FOUND = -0x1102  # ESP_ERR_NVS_NOT_FOUND, as esp32.NVS raises it (ports/esp32/mphalport.c)


def load():
    """The identity (int) that was saved, 0 if none ever was. Raises OSError."""
    try:
        return NVS(NAMESPACE).get_i32(KEY)
    except OSError as e:
        if e.args[0] != NOT_FOUND:
            raise  # it isn't known whether there is one
        return 0


def save(identity):
    """Keep it; durable on return. Raises OSError."""
    nvs = NVS(NAMESPACE)
    nvs.set_i32(KEY, identity)
    nvs.commit()
