"""Sessions between nodes: each datagram counts once, for one receiver, as both are now."""

from raft import messages, secrecy
from raft.interpreter import draw
from raft.messages import Codec, Message
from raft.seal import (
    KEY_BYTES,
    MAX_SENT,
    NONCE_BYTES,
    TAG_BYTES,
    WINDOW,
    Key,
    Mac,
    Seal,
    Window,
    is_same,
    nonce,
)
from tests.dice import Dice
from tests.heap import allocated

PORTABLE = True

NAME = "test"
OLD, NEW = Key(b"\1" * KEY_BYTES, NAME), Key(b"\2" * KEY_BYTES, NAME)
OTHER = Key(b"\1" * KEY_BYTES, "other")


def is_new(window: Window, number: int) -> bool:
    """Whether it is; from now on it isn't."""
    if not window.is_new(number):
        return False
    window.add(number)
    return True


class Side:
    """A node that knows some keys."""

    def __init__(self, node: int, keys: "list[Key]", is_secret: bool = False) -> None:
        self.seal = Seal(node, list(keys), draw, is_secret)
        self.codec = Codec(node, self.seal.sessions)

    def meet(self, other: "Side", key: Key) -> None:
        self.seal.meet(key, other.codec.node, other.seal.incarnation)

    def say(self, to: "Side", index: int = 1, entries=()) -> bytes:  # type: ignore[no-untyped-def]
        m = Message()
        m.kind, m.dst, m.term, m.index = messages.APPEND, to.codec.node, 3, index
        m.entries = entries
        return bytes(self.codec.frame(self.codec.encode(m)))

    def hears(self, frame: bytes) -> bool:
        return self.codec.decode(memoryview(bytearray(frame)), Message())


def pair(key: Key = OLD) -> "tuple[Side, Side]":
    """Nodes 1 and 2, which know each other."""
    one, two = Side(1, [key]), Side(2, [key])
    one.meet(two, key)
    two.meet(one, key)
    return one, two


# The window


def test_each_number_is_new_once() -> None:
    window = Window()
    for number in range(1, 200):
        assert is_new(window, number)
        assert not is_new(window, number)


def test_numbers_may_overtake_each_other_within_the_window() -> None:
    for first in (1, 1000, MAX_SENT - WINDOW):
        window = Window()
        late = list(range(first, first + WINDOW))
        window.add(late[-1])
        for number in late[-2::-1]:
            assert is_new(window, number), number
        for number in late:
            assert not is_new(window, number), number


def test_what_comes_later_than_the_window_is_long_is_refused() -> None:
    window = Window()
    window.add(100)
    assert not window.is_new(100 - WINDOW)
    assert not window.is_new(1)
    assert window.is_new(100 - WINDOW + 1)


def test_a_number_far_ahead_makes_all_before_it_old() -> None:
    for ahead in (1, WINDOW - 1, WINDOW, WINDOW + 1, 1 << 20, MAX_SENT - 5):
        window = Window()
        for number in range(1, 6):
            window.add(number)
        assert is_new(window, 5 + ahead)
        for number in range(1, 6):
            assert not window.is_new(number), (number, ahead)
        for number in range(6, 5 + ahead if ahead < 100 else 6):
            assert window.is_new(number) == (number > 5 + ahead - WINDOW)


def test_the_window_takes_what_a_set_of_all_numbers_would() -> None:
    dice = Dice(7)
    window, there, last = Window(), set(), 0
    for _ in range(3000):
        number = max(1, last + dice.draw(-WINDOW - 5, 12))
        wanted = number not in there and number > last - WINDOW
        assert is_new(window, number) == wanted, number
        if wanted:
            there.add(number)
            last = max(last, number)


# The seal


def test_tags_are_the_same_only_if_all_of_their_bits_are() -> None:
    for digest in (bytes(32), b"\xff" * 32, bytes(range(32))):
        frame = b"what" + digest[:TAG_BYTES]
        assert is_same(digest, frame, 4)
        for i in range(8 * TAG_BYTES):
            wrong = bytearray(frame)
            wrong[4 + i // 8] ^= 1 << i % 8
            assert not is_same(digest, wrong, 4), i
        first, last = digest[:TAG_BYTES], digest[TAG_BYTES:]
        assert is_same(digest, last, 0) == (first == last)


def test_hmac_is_that_of_rfc_4231() -> None:
    # Test case 1, whose key is filled up with zeros to a whole block by definition (RFC 2104).
    mac = Mac(b"\x0b" * 20 + bytes(12))
    assert mac.derive(b"Hi There")[:8] == b"\xb0\x34\x4c\x61\xd8\xdb\x38\x53"
    # Test case 2
    mac = Mac(b"Jefe" + bytes(28))
    found = mac.derive(b"what do ya want for nothing?")
    assert found[:8] == b"\x5b\xdc\xc1\x46\xbf\x60\x75\x4e"


def test_frames_go_both_ways_and_each_counts_once() -> None:
    one, two = pair()
    for _ in range(3):
        for sender, receiver in ((one, two), (two, one)):
            frame = sender.say(receiver)
            assert receiver.hears(frame)
            assert not receiver.hears(frame)


def test_frames_may_overtake_each_other_and_be_lost() -> None:
    one, two = pair()
    frames = [one.say(two, i) for i in range(100)]
    dice = Dice(3)
    waiting, heard = [], 0
    for frame in frames:
        waiting.append(frame)
        if len(waiting) >= WINDOW // 2:
            assert two.hears(waiting.pop(dice.below(len(waiting) // 2)))
            heard += 1
    assert heard > 80
    assert not two.hears(frames[0])


def test_a_late_datagram_takes_no_more_heap_than_the_first_ones() -> None:
    one, two = pair()
    frames = [memoryview(bytearray(one.say(two))) for _ in range(3 * WINDOW)]
    session, n = two.seal.sessions[1], len(frames[0])

    taken = [allocated(session.open, frame, n) for frame in frames]

    assert min(taken[WINDOW:]) <= max(taken[1:WINDOW])


def test_nobody_hears_what_he_has_said_himself() -> None:
    one, two = pair()
    frame = bytearray(one.say(two))
    assert not one.hears(bytes(frame))
    frame[2:4] = bytes((2, 1))  # as if it were from the other one
    assert not one.hears(bytes(frame))


def test_a_frame_is_for_one_receiver_only() -> None:
    one, two = pair()
    three = Side(3, [OLD])
    three.meet(one, OLD)
    frame = bytearray(one.say(two))
    assert not three.hears(bytes(frame))
    frame[3] = 3
    assert not three.hears(bytes(frame))


def test_a_frame_of_another_cluster_is_refused_also_with_its_number_changed() -> None:
    two = pair()[1]
    stranger, there = pair(OTHER)
    assert OTHER.number != OLD.number
    frame = bytearray(stranger.say(there))
    assert not two.hears(bytes(frame))
    frame[4:6] = OLD.number.to_bytes(2, "little")
    assert not two.hears(bytes(frame))


def test_nothing_from_before_a_restart_of_either_side_is_heard() -> None:
    one, two = pair()
    old = [one.say(two) for _ in range(40)]
    assert two.hears(old[0])

    again = Side(1, [OLD])
    two.meet(again, OLD)
    again.meet(two, OLD)
    assert not any([two.hears(frame) for frame in old])
    assert two.hears(again.say(two))

    other = Side(2, [OLD])
    other.meet(again, OLD)
    old.append(again.say(two))
    for frame in old:
        assert not other.hears(frame)


def test_meeting_the_same_incarnation_again_lets_nothing_in_twice() -> None:
    one, two = pair()
    frame = one.say(two)
    assert two.hears(frame)

    two.meet(one, OLD)

    assert not two.hears(frame)


def test_a_peer_may_seal_by_either_key_while_they_are_changed() -> None:
    for key, other in ((OLD, NEW), (NEW, OLD)):
        one, two = Side(1, [NEW, OLD]), Side(2, [NEW, OLD])
        one.meet(two, key)
        two.meet(one, other)
        assert one.seal.sessions[2].key_number == key.number
        assert two.hears(one.say(two)) and one.hears(two.say(one))
        frame = bytearray(one.say(two))
        frame[4:6] = other.number.to_bytes(2, "little")  # not by one in the name of the other
        assert not two.hears(bytes(frame))


def test_an_incarnation_ends_when_its_numbers_are_used_up() -> None:
    one, two = pair()
    frame, before = one.say(two), one.seal.incarnation
    assert not one.seal.renew()

    one.seal.sessions[2].sent = MAX_SENT

    assert one.seal.renew()
    assert one.seal.incarnation != before and not one.seal.sessions
    two.meet(one, OLD)
    assert not two.hears(frame)


def test_incarnations_are_never_zero_and_never_the_same() -> None:
    drawn = {nonce(draw) for _ in range(100)}
    assert len(drawn) == 100 and bytes(NONCE_BYTES) not in drawn
    assert nonce(lambda low, high: low) != bytes(NONCE_BYTES)


# Secrecy


def test_a_cipher_reveals_what_it_has_hidden_of_any_length() -> None:
    cipher = secrecy.Cipher(b"k" * KEY_BYTES)
    for n in range(70):
        text = bytes(range(n))
        buf = bytearray(b"before" + text + bytes(messages.ROOM))
        end = cipher.hide(buf, memoryview(buf), 6, 6 + n)

        assert buf[:6] == b"before"
        assert 6 + n + 17 <= end <= 6 + n + messages.ROOM
        assert n < 4 or text not in bytes(buf)
        start, stop = cipher.reveal(memoryview(buf), 6, end)
        assert bytes(buf[start:stop]) == text


def test_the_same_is_hidden_in_another_way_each_time() -> None:
    cipher = secrecy.Cipher(b"k" * KEY_BYTES)
    seen = set()
    for _ in range(20):
        buf = bytearray(64)
        seen.add(bytes(buf[: cipher.hide(buf, memoryview(buf), 0, 16)]))
    assert len(seen) == 20


def test_what_was_not_hidden_is_not_revealed() -> None:
    cipher = secrecy.Cipher(b"k" * KEY_BYTES)
    for n in range(48):
        if n != 32:
            assert cipher.reveal(memoryview(bytearray(n)), 0, n) == (0, 0)
    for last in (0, 17, 255):
        buf = bytearray(15) + bytes((last,)) + bytes(32)
        view = memoryview(buf)
        cipher.hide(buf, view, 0, 16)
        # with the first block for an IV and the second one alone, what was the text ends it
        assert cipher.reveal(view, 0, 32) == (0, 0)


def test_one_node_may_hide_what_it_says_although_the_other_does_not() -> None:
    for hides in ((True, False), (False, True), (True, True)):
        one, two = Side(1, [OLD], hides[0]), Side(2, [OLD], hides[1])
        one.meet(two, OLD)
        two.meet(one, OLD)
        for sender, receiver, is_secret in ((one, two, hides[0]), (two, one, hides[1])):
            for data in (b"secret command", b"x" * 1100):
                frame = sender.say(receiver, entries=[(3, messages.COMMAND, data)])
                assert (data not in frame) == is_secret
                m = Message()
                assert receiver.codec.decode(memoryview(bytearray(frame)), m)
                assert list(m.entries) == [(3, messages.COMMAND, data)]
            assert receiver.hears(sender.say(receiver))  # a heartbeat has nothing to hide


def test_the_largest_entry_fits_into_a_datagram_when_it_is_hidden() -> None:
    one, two = Side(1, [OLD], True), Side(2, [OLD])
    one.meet(two, OLD)
    two.meet(one, OLD)
    entries = [(3, messages.COMMAND, bytes(messages.MAX_DATA))]
    frame = one.say(two, entries=entries)
    assert len(frame) <= messages.MAX_DATAGRAM and two.hears(frame)
