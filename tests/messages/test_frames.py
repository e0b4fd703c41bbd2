"""Each message byte by byte, there and back, and what is refused."""

import gc
import struct
import sys
from binascii import crc32, hexlify, unhexlify

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
    MAX_DATA,
    MAX_DATAGRAM,
    MAX_NUMBER,
    MAX_PIECE,
    MEMBERS,
    NOOP,
    OUT,
    PRE_VOTE,
    PRE_VOTE_REPLY,
    READ,
    READ_ASK,
    READ_REPLY,
    REPLY,
    RESCUE,
    SNAPSHOT,
    SNAPSHOT_REPLY,
    STATUS,
    TRANSFER,
    TRUST,
    VOTE,
    VOTE_REPLY,
    WRITE,
    Codec,
    Message,
    cluster_number,
    frame_bytes,
)
from tests.dice import Dice
from tests.support import raises

TYPE_CHECKING = False  # as in `typing`, which MicroPython lacks
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PORTABLE = True

if sys.implementation.name == "micropython":

    def allocated(function: "Callable[..., object]", *args: object) -> int:
        """The bytes of heap that calling this takes, garbage included."""
        gc.collect()
        before = gc.mem_alloc()  # type: ignore[attr-defined]
        function(*args)
        return gc.mem_alloc() - before  # type: ignore[attr-defined]

else:
    import tracemalloc

    def allocated(function: "Callable[..., object]", *args: object) -> int:
        """The most bytes of heap that are taken while this is called."""
        tracemalloc.start()
        function(*args)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most


CLUSTER = "test"  # CRC-32 0x187f7e0c, of which frames carry 0x7e0c
KINDS = range(PRE_VOTE, OUT + 1)
BOARD_BYTES = 32  # a heartbeat and a vote request have at most this
ENTRIES = [(8, COMMAND, b"abc"), (8, NOOP, b"")]
ENTRIES_HEX = "08000000 0300 01 616263   08000000 0000 00"
PIECE = (512, 515, 0x39ABCDEF, b"abc")  # the last three bytes of 515
PIECE_HEX = "00020000 03020000 efcdab39 616263"
FIELDS = ("kind", "src", "dst", "term", "index", "log_term", "commit", "ctx")

# Of node 2 to node 1: term 8, index 300, log term 7, commit 0x1234, ctx 0x01020304 or 5.
#        mark kind from to, cluster, length; term, index, log term, commit, ctx; entries; seal
GOLDEN = (
    ((PRE_VOTE, 2, 1, 8, 300, 7, 0x1234, 0), (),
     "a1 01 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 00000000  6e69107a"),
    ((PRE_VOTE_REPLY, 2, 1, 8, 1, 0, 0x1234, 0), (),
     "a1 02 02 01 0c7e 2000  08000000 01000000 00000000 34120000 00000000  ee4f921a"),
    ((VOTE, 2, 1, 8, 300, 7, 0x1234, 0), (),
     "a1 03 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 00000000  ec5f08a7"),
    ((VOTE_REPLY, 2, 1, 8, 1, 0, 0x1234, 0), (),
     "a1 04 02 01 0c7e 2000  08000000 01000000 00000000 34120000 00000000  2912cba6"),
    ((APPEND, 2, 1, 8, 300, 7, 0x1234, 0x01020304), (),
     "a1 05 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 04030201  317944d3"),
    ((APPEND, 2, 1, 8, 300, 7, 0x1234, 0x01020304), ENTRIES,
     "a1 05 02 01 0c7e 3100  08000000 2c010000 07000000 34120000 04030201"
     + ENTRIES_HEX + "7844682b"),
    ((COMMIT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a1 06 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 05000000  dadf1b9f"),
    ((APPEND_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a1 07 02 01 0c7e 2000  08000000 2c010000 00000000 34120000 05000000  142d0f85"),
    ((APPEND_REJECT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a1 08 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 05000000  9754c0e1"),
    ((RESCUE, 2, 1, 8, 0, 0, 0x1234, 0), [(3, COMMAND, b"xy")],
     "a1 09 02 01 0c7e 2900  08000000 00000000 00000000 34120000 00000000"
     "03000000 0200 01 7879  0d13f97a"),
    ((SNAPSHOT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a1 0a 02 01 0c7e 2f00  08000000 2c010000 07000000 34120000 05000000"
     + PIECE_HEX + "f13f87a3"),
    ((SNAPSHOT_REPLY, 2, 1, 8, 300, 512, 0x1234, 5), (),
     "a1 0b 02 01 0c7e 2000  08000000 2c010000 00020000 34120000 05000000  1a29a07e"),
    ((TRUST, 2, 1, 8, 300, 0, 0x1234, 0), (),
     "a1 0c 02 01 0c7e 2000  08000000 2c010000 00000000 34120000 00000000  6f26c7c3"),
    ((DOUBT_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a1 0d 02 01 0c7e 2000  08000000 2c010000 00000000 34120000 05000000  1ccd959a"),
    ((DOUBT_REJECT, 2, 1, 8, 300, 7, 0x1234, 5), (),
     "a1 0e 02 01 0c7e 2000  08000000 2c010000 07000000 34120000 05000000  5009995d"),
    ((TRANSFER, 2, 1, 8, 0, 0, 0x1234, 0), (),
     "a1 0f 02 01 0c7e 2000  08000000 00000000 00000000 34120000 00000000  f178b579"),
    ((READ_ASK, 2, 1, 8, 0, 0, 0x1234, 5), (),
     "a1 10 02 01 0c7e 2000  08000000 00000000 00000000 34120000 05000000  9ab34800"),
    ((READ_REPLY, 2, 1, 8, 300, 0, 0x1234, 5), (),
     "a1 11 02 01 0c7e 2000  08000000 2c010000 00000000 34120000 05000000  86db2267"),
    ((OUT, 2, 1, 8, 300, 0, 0x1234, 0), (),
     "a1 12 02 01 0c7e 2000  08000000 2c010000 00000000 34120000 00000000  770668e3"),
)  # fmt: skip


def unhex(text: str) -> bytes:
    return unhexlify(text.replace(" ", ""))


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
    codec = Codec(m.src, CLUSTER)
    return bytes(codec.frame(codec.encode(m)))


def sealed(frame: bytes) -> bytes:
    """A frame with the seal that belongs to it, whatever it says."""
    return frame + struct.pack("<I", crc32(frame))


def raw(kind: int = APPEND, src: int = 2, dst: int = 1, cluster: int = 0x7E0C, term: int = 8,
        index: int = 300, log_term: int = 7, commit: int = 5, ctx: int = 5, tail: bytes = b"",
        mark: int = 0xA1, more: int = 0) -> bytes:  # fmt: skip
    """A sealed frame with any numbers in its fields; its length field is `more` than right."""
    head = struct.pack("<BBBBHH", mark, kind, src, dst, cluster, EMPTY_BYTES + len(tail) + more)
    return sealed(head + struct.pack("<IIIII", term, index, log_term, commit, ctx) + tail)


def raw_entry(term: int = 8, size: int = 3, kind: int = COMMAND, data: bytes = b"abc") -> bytes:
    return struct.pack("<IHB", term, size, kind) + data


def raw_piece(
    offset: int = 512, size: int = 515, crc: int = 0x39ABCDEF, data: bytes = b"abc"
) -> bytes:
    return struct.pack("<III", offset, size, crc) + data


def is_refused(frame: bytes) -> bool:
    return Codec(1, CLUSTER).decode(frame, Message()) is False


# Between nodes


def test_every_message_has_the_documented_bytes() -> None:
    assert sorted({fields[0] for fields, _, _ in GOLDEN}) == list(KINDS)
    for fields, entries, text in GOLDEN:
        assert hexlify(encode(message(fields, entries))) == hexlify(unhex(text)), fields


def test_the_documented_bytes_are_read_as_the_message() -> None:
    for fields, entries, text in GOLDEN:
        m = Message()

        assert Codec(1, CLUSTER).decode(unhex(text), m)

        assert fields_of(m) == fields
        assert list(m.entries) == list(entries)
        assert m.kind != SNAPSHOT or piece_of(m) == PIECE


def test_a_heartbeat_and_a_vote_request_have_at_most_32_bytes() -> None:
    for kind in (APPEND, VOTE, PRE_VOTE):
        most = (kind, 254, 253, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER, MAX_NUMBER)
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
            kind, dice.draw(2, 254), 1, term, dice.pick(numbers), log_term, dice.pick(numbers), i,
        )  # fmt: skip
        m = Message()

        assert Codec(1, CLUSTER).decode(encode(message(fields, entries, piece)), m), fields

        assert fields_of(m) == fields
        assert list(m.entries) == entries
        assert kind != SNAPSHOT or piece_of(m) == piece


def test_the_largest_entry_fits_into_a_datagram() -> None:
    entries = [(8, COMMAND, bytes(MAX_DATA))]
    m = Message()

    frame = encode(message((APPEND, 2, 1, 8, 1, 1, 1, 1), entries))

    assert len(frame) <= MAX_DATAGRAM
    assert Codec(1, CLUSTER).decode(frame, m)
    assert list(m.entries) == entries


def test_a_short_frame_behind_a_long_one_has_nothing_of_it() -> None:
    codec = Codec(2, CLUSTER)
    long, short = message(GOLDEN[0][0], [(8, COMMAND, b"x" * 900)]), message(GOLDEN[0][0])
    codec.encode(long)

    assert bytes(codec.frame(codec.encode(short))) == unhex(GOLDEN[0][2])


def test_a_message_reused_has_nothing_of_the_last_one() -> None:
    m = Message()
    codec = Codec(1, CLUSTER)
    assert codec.decode(raw(tail=raw_entry()), m)
    assert list(m.entries) == [(8, COMMAND, b"abc")]

    assert codec.decode(raw(), m)

    assert list(m.entries) == []
    assert codec.decode(raw(tail=raw_entry()), m)

    assert codec.decode(raw(SNAPSHOT, tail=raw_piece()), m)

    assert list(m.entries) == []


def test_the_frames_of_this_test_are_accepted_if_nothing_is_wrong_with_them() -> None:
    assert not is_refused(raw())
    assert not is_refused(raw(tail=raw_entry()))
    assert not is_refused(raw(RESCUE, tail=raw_entry(3) + raw_entry(2)))
    assert not is_refused(raw(term=MAX_NUMBER, ctx=MAX_NUMBER))
    assert not is_refused(raw(SNAPSHOT, tail=raw_piece()))


def test_a_frame_for_another_node_or_cluster_is_refused() -> None:
    assert is_refused(raw(dst=2))
    assert is_refused(raw(dst=0))
    assert is_refused(raw(cluster=0x7E0D))
    assert is_refused(raw(cluster=0))
    frame = encode(message(GOLDEN[0][0]))
    assert not Codec(1, "other").decode(frame, Message())


def test_a_frame_of_another_format_version_is_refused() -> None:
    for mark in (0xA0, 0xA2, 0xB1, 0x00, 0xFF):
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
            if n > 4:
                assert is_refused(sealed(whole[: n - 4]))  # sealed so, but of another length
    full = [raw_entry(8, 1000, COMMAND, bytes(1000)), raw_entry(8, 354, COMMAND, bytes(354))]
    assert len(raw(tail=b"".join(full))) == MAX_DATAGRAM
    assert not is_refused(raw(tail=b"".join(full)))
    full[1] = raw_entry(8, 355, COMMAND, bytes(355))
    assert is_refused(raw(tail=b"".join(full)))


def test_a_frame_that_gives_another_length_is_refused() -> None:
    for more in (-32, -1, 1, 256, 1400):
        assert is_refused(raw(more=more))
        assert is_refused(raw(tail=raw_entry(), more=more))


def test_each_flipped_bit_is_noticed() -> None:
    for frame in (raw(), raw(tail=raw_entry()), raw(SNAPSHOT, tail=raw_piece())):
        for i in range(len(frame) * 8):
            flipped = bytearray(frame)
            flipped[i // 8] ^= 1 << i % 8
            assert is_refused(bytes(flipped)), i


def test_refusing_a_datagram_takes_less_memory_than_its_own_size() -> None:
    codec, m, dice = Codec(1, CLUSTER), Message(), Dice(1)
    allocated(codec.decode, raw(), m)  # what is taken once, and by the measuring
    for frame in (
        dice.bytes(MAX_DATAGRAM),
        bytes(MAX_DATAGRAM),
        raw(tail=raw_entry() * 90)[:-1],
        raw(tail=raw_entry() * 90)[:-1] + b"?",
        raw(dst=2, tail=raw_entry() * 90),
        raw(SNAPSHOT, tail=raw_piece(0, 513, data=bytes(MAX_PIECE + 1))),
    ):
        assert allocated(codec.decode, frame, m) < len(frame)


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


# Between clients and nodes


def test_every_message_of_a_client_has_the_documented_bytes() -> None:
    codec = Codec(0, CLUSTER)
    for kind, payload, text in (
        (WRITE, b"cmd", "a1 20 00 01 0c7e 1300  04030201 636d64  afdcc6e9"),
        (READ, b"q", "a1 21 00 01 0c7e 1100  04030201 71  2b474fe9"),
        (STATUS, b"", "a1 22 00 01 0c7e 1000  04030201  f5db3671"),
    ):
        frame = bytes(codec.frame(codec.request(1, kind, 0x01020304, payload)))

        assert frame == unhex(text)
        got = Codec(1, CLUSTER).decode_request(frame)
        assert got is not None
        assert (got[0], got[1], bytes(got[2])) == (kind, 0x01020304, payload)


def test_a_reply_to_a_client_has_the_documented_bytes() -> None:
    codec = Codec(1, CLUSTER)

    frame = bytes(codec.frame(codec.reply(0x01020304, 1, 2, b"res")))

    assert frame == unhex("a1 23 01 00 0c7e 1500  04030201 01 02 726573  1122304b")
    assert Codec(0, CLUSTER).decode_reply(frame) == (1, 0x01020304, 1, 2, b"res")


def test_requests_that_are_none_are_refused() -> None:
    body = struct.pack("<I", 7) + b"payload"
    codec = Codec(1, CLUSTER)

    def request(kind: int = WRITE, src: int = 0, dst: int = 1, cluster: int = 0x7E0C,
                mark: int = 0xA1, rest: bytes = body) -> object:  # fmt: skip
        head = struct.pack("<BBBBHH", mark, kind, src, dst, cluster, 12 + len(rest))
        return codec.decode_request(sealed(head + rest))

    assert request() is not None
    for kind in range(256):
        assert (request(kind) is not None) == (WRITE <= kind <= MEMBERS and kind != REPLY)
    assert request(src=2) is None
    assert request(dst=2) is None
    assert request(dst=0) is None
    assert request(cluster=0x7E0D) is None
    assert request(mark=0xA2) is None
    assert request(rest=body[:3]) is None
    assert request(rest=bytes(MAX_DATAGRAM - 12)) is not None
    assert request(rest=bytes(MAX_DATAGRAM - 11)) is None
    assert codec.decode_request(raw()) is None
    frame = sealed(struct.pack("<BBBBHH", 0xA1, WRITE, 0, 1, 0x7E0C, 12 + len(body)) + body)
    assert codec.decode_request(frame) is not None
    for n in range(len(frame)):
        assert codec.decode_request(frame[:n]) is None
        flipped = bytearray(frame)
        flipped[n] ^= 0x10
        assert codec.decode_request(bytes(flipped)) is None


def test_replies_that_are_none_are_refused() -> None:
    client, node = Codec(0, CLUSTER), Codec(1, CLUSTER)
    frame = bytes(node.frame(node.reply(7, 0, 2, b"result")))
    assert client.decode_reply(frame) is not None

    for n in range(len(frame)):
        assert client.decode_reply(frame[:n]) is None
    assert client.decode_reply(frame + b"\0") is None
    assert client.decode_reply(raw(dst=0)) is None
    assert Codec(0, "other").decode_reply(frame) is None
    request = bytes(client.frame(client.request(1, WRITE, 7, b"payload")))
    assert client.decode_reply(request) is None
    assert is_refused(frame) and is_refused(request)
    for size, is_reply in ((16, False), (18, True)):
        short = struct.pack("<BBBBHHI", 0xA1, REPLY, 1, 0, 0x7E0C, size, 7) + b"\0\2"
        assert (client.decode_reply(sealed(short[: size - 4])) is not None) == is_reply


def test_a_payload_that_no_datagram_can_carry_is_refused() -> None:
    client, node = Codec(0, CLUSTER), Codec(1, CLUSTER)
    room = MAX_DATAGRAM - 16

    assert client.request(1, WRITE, 7, bytes(room)) == MAX_DATAGRAM
    assert "datagram" in str(raises(ValueError, client.request, 1, WRITE, 7, bytes(room + 1)))
    raises(ValueError, node.reply, 7, 0, 0, bytes(room - 1))


def test_a_cluster_is_known_by_16_bits_of_its_names_crc() -> None:
    assert cluster_number("test") == crc32(b"test") & 0xFFFF
    assert cluster_number("pump-house") != cluster_number("pump-house2")
    assert cluster_number("") <= 0xFFFF


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
        raw(mark=0xA2),
        raw(more=4000),
        raw(more=-30),  # less than a header
        sound[:-1],
        sound[:7],
        b"\xa1",
        bytes(40),
    ):
        piece = sound + broken
        assert frame_bytes(piece, EMPTY_BYTES, len(piece)) == len(broken)
