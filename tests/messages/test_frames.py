"""Each message byte by byte, there and back, and what is refused."""

import struct
from binascii import hexlify, unhexlify

from raft.members import DEAD, MAX_MEMBERS, VOTER, founders, record
from raft.messages import (
    APPEND,
    APPEND_REJECT,
    APPEND_REPLY,
    COMMAND,
    COMMIT,
    CONFIG,
    DOUBT_REJECT,
    DOUBT_REPLY,
    EMPTY_BYTES,
    MARK,
    MAX_DATA,
    MAX_DATAGRAM,
    MAX_NUMBER,
    MAX_PIECE,
    NOOP,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ_ASK,
    READ_REPLY,
    RESCUE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    TRANSFER,
    TRUST,
    VOTE,
    VOTE_REPLY,
    Codec,
    Message,
    frame_bytes,
)
from raft.seal import SEAL_BYTES, Session, keys_of
from tests.dice import Dice
from tests.heap import allocated

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Sequence

PORTABLE = True

CLUSTER = "test"
SECRET = hexlify(bytes(range(32))).decode()
KEY = keys_of([SECRET], CLUSTER)[0]
KEY_NUMBER = KEY.number
INCARNATIONS = {1: b"\x11" * 8, 2: b"\x22" * 8}
KINDS = range(PRE_VOTE, OUT + 1)
BOARD_BYTES = 48  # a heartbeat and a vote request have at most this
MAX_REFUSED_BYTES = 1200  # of heap, garbage included, that a refused datagram takes
ENTRIES = [(8, COMMAND, b"abc"), (8, NOOP, b"")]
ENTRIES_HEX = "08000000 0300 01 616263   08000000 0000 00"
PIECE = (512, 515, 0x39ABCDEF, b"abc")  # the last three bytes of 515
PIECE_HEX = "00020000 03020000 efcdab39 616263"
FIELDS = ("kind", "src", "dst", "term", "index", "log_term", "commit", "ctx")

# Of node 2 to node 1: term 8, index 300, log term 7, commit 0x1234, ctx 0x01020304 or 5.
# Each is the first from that incarnation of node 2 to that of node 1.
#        mark kind from to, key, length; term, index, log term, commit, ctx; entries; number, tag
GOLDEN = (
    ((PRE_VOTE, 2, 1, 8, 300, 7, 0x1234, 0), (),
     "a2 01 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 00000000"
     "01000000 e4615861758350e523b869f095e7630a"),
    ((PRE_VOTE_REPLY, 2, 1, 8, 1, 0, 0x1234, 0), (),
     "a2 02 02 01 7ca8 3000  08000000 01000000 00000000 34120000 00000000"
     "01000000 5ec45b9af7f2b68a366c806024ac1281"),
    ((VOTE, 2, 1, 8, 300, 7, 0x1234, 0), (),
     "a2 03 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 00000000"
     "01000000 793f417ceb8cedc44b84e90d51958fe9"),
    ((VOTE_REPLY, 2, 1, 8, 1, 0, 0x1234, 0), (),
     "a2 04 02 01 7ca8 3000  08000000 01000000 00000000 34120000 00000000"
     "01000000 8479ce3fdd574f64350f4b6572360974"),
    ((APPEND, 2, 1, 8, 300, 7, 0x1234, 0x01020304), (),
     "a2 05 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 04030201"
     "01000000 bd108af04e045125b316fb2ddaa8a85a"),
    ((APPEND, 2, 1, 8, 300, 7, 0x1234, 0x01020304), ENTRIES,
     "a2 05 02 01 7ca8 4100  08000000 2c010000 07000000 34120000 04030201"
     + ENTRIES_HEX + "01000000 278807c301e4e0095b54043c9b8ef17d"),
    ((COMMIT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a2 06 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 05000000"
     "01000000 dd4b975b542de58b64a58a2cc6fea585"),
    ((APPEND_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a2 07 02 01 7ca8 3000  08000000 2c010000 00000000 34120000 05000000"
     "01000000 c837b1b8fe47f938cef36f73e8d53a23"),
    ((APPEND_REJECT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a2 08 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 05000000"
     "01000000 7e2a096351e44b18517db72d3776f694"),
    ((RESCUE, 2, 1, 8, 0, 0, 0x1234, 0), [(3, COMMAND, b"xy")],
     "a2 09 02 01 7ca8 3900  08000000 00000000 00000000 34120000 00000000"
     "03000000 0200 01 7879  01000000 249a9772d82cc31c158a9e4bfa81cc74"),
    ((SNAPSHOT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a2 0a 02 01 7ca8 3f00  08000000 2c010000 07000000 34120000 05000000"
     + PIECE_HEX + "01000000 17a87ba064e143e5ec25476e5756f4ed"),
    ((SNAPSHOT_REPLY, 2, 1, 8, 300, 512, 0x1234, 5), (),
     "a2 0b 02 01 7ca8 3000  08000000 2c010000 00020000 34120000 05000000"
     "01000000 99d32b0fd188aa91d094945a6d9bfd05"),
    ((TRUST, 2, 1, 8, 300, 0, 0x1234, 0), (),
     "a2 0c 02 01 7ca8 3000  08000000 2c010000 00000000 34120000 00000000"
     "01000000 da751c765c036dc928c59dfa91ceae06"),
    ((DOUBT_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a2 0d 02 01 7ca8 3000  08000000 2c010000 00000000 34120000 05000000"
     "01000000 c69f377a1a21ced52a6469226dbbe62b"),
    ((DOUBT_REJECT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a2 0e 02 01 7ca8 3000  08000000 2c010000 07000000 34120000 05000000"
     "01000000 15741e169e30efdbea79bf6d611fa02f"),
    ((TRANSFER, 2, 1, 8, 0, 0, 0x1234, 0), (),
     "a2 0f 02 01 7ca8 3000  08000000 00000000 00000000 34120000 00000000"
     "01000000 2373f3e8f16104c0dfbd4b315b4ccaac"),
    ((READ_ASK, 2, 1, 8, 0, 0, 0x1234, 5), (),
     "a2 10 02 01 7ca8 3000  08000000 00000000 00000000 34120000 05000000"
     "01000000 b558043625c77070483935bdb609168d"),
    ((READ_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a2 11 02 01 7ca8 3000  08000000 2c010000 00000000 34120000 05000000"
     "01000000 ae2f6189e69c078b5ce8aadd3f287531"),
    ((OUT, 2, 1, 8, 300, 0, 0x1234, 0), (),
     "a2 12 02 01 7ca8 3000  08000000 2c010000 00000000 34120000 00000000"
     "01000000 52e70fbc8c07c27e2e54270dec9dafa6"),
)  # fmt: skip


def unhex(text: str) -> bytes:
    return unhexlify(text.replace(" ", ""))


def session(node: int, peer: int, is_secret: bool = False) -> Session:
    """A new one between the two that every frame of this module is from or to."""
    own, other = INCARNATIONS[node], INCARNATIONS[peer]
    return Session(KEY, [KEY], node, own, peer, other, is_secret)


def receiver() -> Codec:
    """Of node 1, which has heard nothing from node 2 yet."""
    return Codec(1, {2: session(1, 2)})


def message(fields: tuple[int, ...], entries: "Sequence[tuple[int, int, bytes]]" = (),
            piece: tuple[int, int, int, bytes] = PIECE) -> Message:  # fmt: skip
    m = Message()
    m.kind, m.src, m.dst, m.term, m.index, m.log_term, m.commit, m.ctx = fields
    m.entries = entries  # type: ignore[assignment]
    if m.kind == SNAPSHOT:
        m.offset, m.size, m.crc, m.data = piece
    return m


def fields_of(m: Message) -> tuple[int, ...]:
    return tuple([getattr(m, name) for name in FIELDS])


def piece_of(m: Message) -> tuple[int, int, int, bytes]:
    return m.offset, m.size, m.crc, m.data


def encode(m: Message) -> bytes:
    codec = Codec(2, {1: session(2, 1)})
    return bytes(codec.frame(codec.encode(m)))


def sealed(frame: bytes) -> bytes:
    """A frame with the seal that belongs to it, whatever it says."""
    buf = bytearray(frame) + bytearray(SEAL_BYTES)
    return bytes(buf[: session(2, 1).close(buf, memoryview(buf), len(frame))])


def raw(kind: int = APPEND, src: int = 2, dst: int = 1, key: int = KEY_NUMBER, term: int = 8,
        index: int = 300, log_term: int = 7, commit: int = 5, ctx: int = 5, tail: bytes = b"",
        mark: int = MARK, more: int = 0) -> bytes:  # fmt: skip
    """A sealed frame with any numbers in its fields; its length field is `more` than right."""
    size = EMPTY_BYTES + len(tail) + more
    head = struct.pack("<BBBBHH", mark, kind, src, dst, key, size)
    return sealed(head + struct.pack("<IIIII", term, index, log_term, commit, ctx) + tail)


def raw_entry(term: int = 8, size: int = 3, kind: int = COMMAND, data: bytes = b"abc") -> bytes:
    return struct.pack("<IHB", term, size, kind) + data


def raw_piece(
    offset: int = 512, size: int = 515, crc: int = 0x39ABCDEF, data: bytes = b"abc"
) -> bytes:
    return struct.pack("<III", offset, size, crc) + data


def is_refused(frame: bytes, codec: "Codec | None" = None) -> bool:
    return (codec or receiver()).decode(writable(frame), Message()) is False


def writable(frame: bytes) -> memoryview:
    return memoryview(bytearray(frame))


# Between nodes


def test_every_message_has_the_documented_bytes() -> None:
    assert sorted({fields[0] for fields, _, _ in GOLDEN}) == list(KINDS)
    for fields, entries, text in GOLDEN:
        assert hexlify(encode(message(fields, entries))) == hexlify(unhex(text)), fields


def test_the_documented_bytes_are_read_as_the_message() -> None:
    for fields, entries, text in GOLDEN:
        m = Message()

        assert receiver().decode(writable(unhex(text)), m)

        assert fields_of(m) == fields
        assert list(m.entries) == list(entries)
        assert m.kind != SNAPSHOT or piece_of(m) == PIECE


def test_a_heartbeat_and_a_vote_request_have_at_most_48_bytes() -> None:
    for kind in (APPEND, VOTE, PRE_VOTE):
        most = (kind, 2, 1, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER)
        assert len(encode(message(most))) == EMPTY_BYTES <= BOARD_BYTES


def test_every_message_comes_back_as_it_was_sent() -> None:
    dice = Dice(1)
    numbers = (0, 1, 255, 256, 65535, 65536, 1 << 29, MAX_NUMBER)
    for i in range(300):
        kind = dice.pick(KINDS)
        term = dice.pick(numbers[1:])
        log_term = dice.pick(numbers)
        entries = []
        if kind == RESCUE or kind == APPEND and log_term <= term:
            for _ in range(dice.below(5)):
                kind_of_entry = dice.pick((NOOP, COMMAND, CONFIG))
                data = dice.bytes(dice.below(250))
                if kind_of_entry == CONFIG:
                    data = founders((1, dice.draw(2, 254))).data
                entries.append((term, kind_of_entry, data))
        data = dice.bytes(dice.pick((1, 2, MAX_PIECE - 1, MAX_PIECE)))
        size = dice.pick((len(data), 1 << 20, MAX_NUMBER))
        piece = (dice.pick((0, size - len(data))), size, dice.pick(numbers), data)
        fields = (
            kind, 2, 1, term, dice.pick(numbers), log_term, dice.pick(numbers), i,
        )  # fmt: skip
        m = Message()

        assert receiver().decode(writable(encode(message(fields, entries, piece))), m), fields

        assert fields_of(m) == fields
        assert list(m.entries) == entries
        assert kind != SNAPSHOT or piece_of(m) == piece


def test_the_largest_entry_fits_into_a_datagram() -> None:
    entries = [(8, COMMAND, bytes(MAX_DATA))]
    m = Message()

    frame = encode(message((APPEND, 2, 1, 8, 1, 1, 1, 1), entries))

    assert len(frame) <= MAX_DATAGRAM
    assert receiver().decode(writable(frame), m)
    assert list(m.entries) == entries


def test_a_short_frame_behind_a_long_one_has_nothing_of_it() -> None:
    codec = Codec(2, {1: session(2, 1)})
    long, short = message(GOLDEN[0][0], [(8, COMMAND, b"x" * 900)]), message(GOLDEN[0][0])
    codec.encode(long)
    codec.sessions[1] = session(2, 1)

    assert bytes(codec.frame(codec.encode(short))) == unhex(GOLDEN[0][2])


def test_a_message_reused_has_nothing_of_the_last_one() -> None:
    m = Message()
    assert receiver().decode(writable(raw(tail=raw_entry())), m)
    assert list(m.entries) == [(8, COMMAND, b"abc")]

    assert receiver().decode(writable(raw()), m)

    assert list(m.entries) == []
    assert receiver().decode(writable(raw(tail=raw_entry())), m)

    assert receiver().decode(writable(raw(SNAPSHOT, tail=raw_piece())), m)

    assert list(m.entries) == []


def test_the_frames_of_this_test_are_accepted_if_nothing_is_wrong_with_them() -> None:
    assert not is_refused(raw())
    assert not is_refused(raw(tail=raw_entry()))
    assert not is_refused(raw(RESCUE, tail=raw_entry(3) + raw_entry(2)))
    assert not is_refused(raw(term=MAX_NUMBER, ctx=MAX_NUMBER))
    assert not is_refused(raw(SNAPSHOT, tail=raw_piece()))


def test_a_frame_for_another_node_or_by_another_key_is_refused() -> None:
    assert is_refused(raw(dst=2))
    assert is_refused(raw(dst=0))
    assert is_refused(raw(key=KEY_NUMBER ^ 1))
    assert is_refused(raw(key=0))


def test_a_frame_from_a_node_without_a_session_is_refused_and_tells_from_whom() -> None:
    codec = Codec(1, {})

    assert is_refused(raw(), codec)

    assert codec.stranger == 2
    codec = receiver()
    for src in (0, 1, 3, 255):
        assert is_refused(raw(src=src), codec)
        assert codec.stranger == src


def test_without_a_session_nothing_is_written() -> None:
    assert Codec(2, {}).encode(message(GOLDEN[0][0])) == 0


def test_a_frame_of_another_format_version_is_refused() -> None:
    for mark in (0xA0, 0xA1, 0xB2, 0x00, 0xFF):
        assert is_refused(raw(mark=mark))


def test_a_configuration_that_is_none_is_refused() -> None:
    good = founders((1, 2, 3)).data
    for data, is_good in (
        (good, True),
        (b"", False),
        (good[:-1], False),
        (good + good, False),  # ids rise
        (founders((0, 1)).data, False),
        (founders((1, 255)).data, False),
        (record(1, 0), False),
        (record(1, DEAD + 1), False),
        (founders(range(1, MAX_MEMBERS + 1)).data, True),
        (founders(range(1, MAX_MEMBERS + 2)).data, False),
        (b"".join([record(i, VOTER, host="x" * 120) for i in range(1, 9)]), False),  # too long
    ):
        frame = encode(message((APPEND, 2, 1, 8, 0, 0, 0, 0), [(8, CONFIG, data)]))
        assert is_refused(frame) != is_good, data


def test_a_frame_of_an_unknown_kind_is_refused() -> None:
    for kind in range(256):
        tail = raw_piece() if kind == SNAPSHOT else b""
        assert is_refused(raw(kind, tail=tail)) == (kind not in KINDS)


def test_numbers_out_of_range_are_refused() -> None:
    for number in (MAX_NUMBER + 1, 1 << 31, (1 << 32) - 1):
        assert is_refused(raw(term=number))
        assert is_refused(raw(index=number))
        assert is_refused(raw(log_term=number))
        assert is_refused(raw(commit=number))
        assert is_refused(raw(ctx=number))
    assert is_refused(raw(term=0))


def test_frames_too_short_or_too_long_are_refused() -> None:
    for whole in (raw(tail=raw_entry()), raw(SNAPSHOT, tail=raw_piece())):
        for n in range(len(whole)):
            assert is_refused(whole[:n])  # what was cut off
            if n > SEAL_BYTES:
                # sealed so, but of another length
                assert is_refused(sealed(whole[: n - SEAL_BYTES]))
    full = [raw_entry(8, 1000, COMMAND, bytes(1000)), raw_entry(8, 338, COMMAND, bytes(338))]
    assert len(raw(tail=b"".join(full))) == MAX_DATAGRAM
    assert not is_refused(raw(tail=b"".join(full)))
    full[1] = raw_entry(8, 339, COMMAND, bytes(339))
    assert is_refused(raw(tail=b"".join(full)))


def test_a_frame_that_gives_another_length_is_refused() -> None:
    for more in (-32, -1, 1, 256, 1400):
        assert is_refused(raw(more=more))
        assert is_refused(raw(tail=raw_entry(), more=more))


def test_each_flipped_bit_is_noticed() -> None:
    for frame in (raw(), raw(tail=raw_entry()), raw(SNAPSHOT, tail=raw_piece())):
        codec = receiver()
        for i in range(len(frame) * 8):
            flipped = bytearray(frame)
            flipped[i // 8] ^= 1 << i % 8
            assert is_refused(bytes(flipped), codec), i
        assert not is_refused(frame, codec)  # nothing of all that was remembered


def test_refusing_a_datagram_takes_little_memory() -> None:
    codec, m, dice = receiver(), Message(), Dice(1)
    allocated(codec.decode, writable(raw(more=1)), m)  # what is taken once, and by the measuring
    for frame in (
        dice.bytes(MAX_DATAGRAM),
        bytes(MAX_DATAGRAM),
        raw(tail=raw_entry() * 90)[:-1],
        raw(tail=raw_entry() * 90)[:-1] + b"?",
        raw(dst=2, tail=raw_entry() * 90),
        raw(SNAPSHOT, tail=raw_piece(0, 513, data=bytes(MAX_PIECE + 1))),
    ):
        assert allocated(codec.decode, writable(frame), m) < MAX_REFUSED_BYTES


def test_entries_are_refused_where_none_belong() -> None:
    for kind in KINDS:
        assert is_refused(raw(kind, tail=raw_entry())) == (kind not in (APPEND, RESCUE))


def test_a_piece_of_a_snapshot_is_refused_where_none_belongs() -> None:
    for kind in KINDS:
        assert is_refused(raw(kind, tail=raw_piece())) == (kind != SNAPSHOT)


def test_a_piece_has_at_least_one_byte_and_at_most_512() -> None:
    assert MAX_PIECE == 512
    for n in (1, 511, 512):
        assert not is_refused(raw(SNAPSHOT, tail=raw_piece(0, 2000, data=bytes(n))))
    for n in (0, 513, 514, MAX_DATAGRAM - EMPTY_BYTES - 12):
        assert is_refused(raw(SNAPSHOT, tail=raw_piece(0, 2000, data=bytes(n))))


def test_a_piece_without_its_whole_header_is_refused() -> None:
    for n in range(12):
        assert is_refused(raw(SNAPSHOT, tail=raw_piece()[:n])), n


def test_a_piece_that_reaches_beyond_its_snapshot_is_refused() -> None:
    for offset, size, is_sound in (
        (0, 3, True),
        (0, 2, False),
        (1, 3, False),
        (512, 514, False),
        (515, 515, False),
        (MAX_NUMBER - 3, MAX_NUMBER, True),
        (MAX_NUMBER - 2, MAX_NUMBER, False),
        (MAX_NUMBER + 1, MAX_NUMBER, False),
        ((1 << 32) - 1, MAX_NUMBER, False),
        ((1 << 32) - 3, 515, False),  # whose end would be 0 again in 32 bits
    ):
        assert is_refused(raw(SNAPSHOT, tail=raw_piece(offset, size))) != is_sound, (offset, size)


def test_a_snapshot_of_a_length_or_crc_out_of_range_is_refused() -> None:
    assert not is_refused(raw(SNAPSHOT, tail=raw_piece(0, MAX_NUMBER, MAX_NUMBER)))
    for number in (MAX_NUMBER + 1, 1 << 31, (1 << 32) - 1):
        assert is_refused(raw(SNAPSHOT, tail=raw_piece(size=number)))
        assert is_refused(raw(SNAPSHOT, tail=raw_piece(crc=number)))


def test_malformed_entries_are_refused() -> None:
    for kind in (APPEND, RESCUE):
        for tail in (
            b"\0",  # less than a header
            raw_entry()[:6],
            raw_entry(size=4),  # longer than the frame
            raw_entry(size=2),  # something behind it
            raw_entry() + b"\0",
            raw_entry() + raw_entry(size=65535),
            raw_entry(kind=CONFIG + 1),
            raw_entry(kind=255),
            raw_entry(term=0),
            raw_entry(term=9),  # above the sender's own
            raw_entry(term=(1 << 32) - 1),
            raw_entry(8, MAX_DATA + 1, COMMAND, bytes(MAX_DATA + 1)),
            raw_entry() + raw_entry(term=9),
        ):
            assert is_refused(raw(kind, tail=tail)), (kind, tail)


def test_entries_whose_terms_fall_are_refused_in_an_append() -> None:
    assert is_refused(raw(tail=raw_entry(term=6)))  # below that of the entry before, 7
    assert is_refused(raw(tail=raw_entry(term=8) + raw_entry(term=7)))
    assert not is_refused(raw(tail=raw_entry(term=7) + raw_entry(term=8)))


# Several datagrams in one piece


def test_frames_in_one_piece_are_told_apart() -> None:
    frames = [raw(), raw(tail=raw_entry()), raw(VOTE), raw(tail=raw_entry() * 3)]
    piece = b"".join(frames)

    at, found = 0, []
    while at < len(piece):
        size = frame_bytes(piece, at, len(piece))
        found.append(piece[at : at + size])
        at += size

    assert found == frames


def test_what_is_no_frame_in_a_piece_takes_the_rest_of_it() -> None:
    sound = raw()
    for broken in (
        raw(mark=0xA1),
        raw(more=4000),
        raw(more=-41),  # less than a header
        sound[:-1],
        sound[:7],
        b"\xa2",
        bytes(40),
    ):
        piece = sound + broken
        assert frame_bytes(piece, EMPTY_BYTES, len(piece)) == len(broken)
