"""What the LED of a board shows."""

from tests.host.board_folder import stand_in

PORTABLE = True

machine = stand_in("machine")
stand_in("neopixel")

from board import led as leds  # noqa: E402
from raft.core import CANDIDATE, FOLLOWER, LEADER, PRE_CANDIDATE, ROLES  # noqa: E402

PIN = 2
STATES = (
    leds.NO_NETWORK,
    leds.SAFE_MODE,
    leds.LEARNER,
    leds.OUT,
    leds.FOLLOWING,
    leds.STANDING,
    leds.LEADING,
)


class Core:
    is_out = False
    role = FOLLOWER
    name = ROLES[FOLLOWER]

    def role_name(self) -> str:
        return self.name


class Node:
    def __init__(self) -> None:
        self.core = Core()


class Wifi:
    is_up = True


def seen(kind, state):  # type: ignore[no-untyped-def]
    """What is at the pin in each step of one turn."""
    led = leds.led_of({"led": PIN, "led_kind": kind})
    levels = []
    for _ in range(leds.STEPS):
        led.step(state)
        levels.append(machine.Pin.levels[PIN])
    return levels


def flashes(levels, off):  # type: ignore[no-untyped-def]
    """How often it is switched on in one turn."""
    return len([i for i in range(len(levels)) if levels[i] != off and levels[i - 1] == off])


def test_each_state_looks_different_in_one_colour_too() -> None:
    patterns = [seen("plain", state) for state in STATES]

    assert len({tuple(pattern) for pattern in patterns}) == len(STATES)
    assert [flashes(pattern, 0) for pattern in patterns] == [1, 3, 2, 4, 1, 8, 0]
    assert patterns[STATES.index(leds.LEADING)] == [1] * leds.STEPS


def test_an_inverted_led_lights_when_its_pin_is_low() -> None:
    for state in STATES:
        assert seen("inverted", state) == [1 - level for level in seen("plain", state)]


def test_an_led_with_colours_has_one_for_each_state() -> None:
    off = (0, 0, 0)

    for state in STATES:
        levels = seen("rgb", state)

        assert {level for level in levels if level != off} == {state[1]}
        assert flashes(levels, off) == flashes(seen("plain", state), 0)
    assert len({state[1] for state in STATES}) == len(STATES)


def test_it_shows_what_the_node_and_its_network_are_up_to() -> None:
    wifi, node = Wifi(), Node()
    glance = leds.Glance({"led": PIN}, wifi)

    assert glance.state() == leds.NO_NETWORK
    glance.node = node
    for role, state in (
        (FOLLOWER, leds.FOLLOWING),
        (PRE_CANDIDATE, leds.STANDING),
        (CANDIDATE, leds.STANDING),
        (LEADER, leds.LEADING),
    ):
        node.core.role = role
        assert glance.state() == state
    node.core.role = FOLLOWER
    node.core.name = "learner"
    assert glance.state() == leds.LEARNER
    node.core.is_out = True
    assert glance.state() == leds.OUT
    wifi.is_up = False
    assert glance.state() == leds.NO_NETWORK
