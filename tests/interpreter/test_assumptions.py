"""What the firmware relies on in every interpreter that it runs under."""

import binascii
import socket
import struct
import sys
import time
from array import array

from tests.support import raises

PORTABLE = True

MICROPYTHON = sys.implementation.name == "micropython"
if MICROPYTHON:
    from time import ticks_add, ticks_diff  # type: ignore[attr-defined]

TOO_SHORT = getattr(struct, "error", ValueError)  # MicroPython's struct has no error of its own
TICKS_PERIOD = 1 << (30 if sys.maxsize == 0x7FFFFFFF else 62)  # 2^30 on every 32-bit machine
FIRST_PORT = 20000
PORTS = 1000


def test_a_struct_of_32_bytes_is_little_endian_and_packed() -> None:
    layout = "<BBBBIIIIIII"

    packed = struct.pack(layout, 0xA1, 2, 3, 4, 0x3FFFFFFF, 6, 7, 8, 9, 10, 0xFFFFFFFF)

    assert struct.calcsize(layout) == len(packed) == 32
    assert packed[:9] == b"\xa1\x02\x03\x04\xff\xff\xff\x3f\x06"
    assert struct.unpack_from(layout, packed)[-1] == 0xFFFFFFFF


def test_unpacking_more_than_there_is_raises() -> None:
    raises(TOO_SHORT, struct.unpack_from, "<I", b"\x00\x00\x00", 0)
    raises(TOO_SHORT, struct.unpack_from, "<I", memoryview(bytearray(8))[2:7], 2)


def test_crc32_is_the_one_of_ethernet_and_can_be_continued() -> None:
    assert binascii.crc32(b"123456789") == 0xCBF43926
    assert binascii.crc32(memoryview(b"_123456789_")[1:10]) == 0xCBF43926
    assert binascii.crc32(b"6789", binascii.crc32(b"12345")) == 0xCBF43926


def test_a_memoryview_slice_is_a_window_and_no_copy() -> None:
    buffer = bytearray(8)
    window = memoryview(buffer)[2:6]

    window[0:2] = b"ab"
    buffer[4] = ord("c")
    struct.pack_into("<B", window, 3, ord("d"))

    assert buffer == b"\x00\x00abcd\x00\x00"
    assert bytes(window) == b"abcd"


def test_a_read_only_buffer_is_not_written_by_accident() -> None:
    raises(TypeError, struct.pack_into, "<B", b"\x00", 0, 1)


def test_array_of_words_holds_32_bits_each() -> None:
    words = array("I", b"\x01\x00\x00\x00\xff\xff\xff\xff")

    assert list(words) == [1, 0xFFFFFFFF]
    words.append(7)
    assert bytes(words)[-4:] == b"\x07\x00\x00\x00"


def test_integers_beyond_a_machine_word_are_exact() -> None:
    big = (1 << 62) + 1

    assert big - (1 << 62) == 1
    assert int.from_bytes(big.to_bytes(8, "little"), "little") == big


def test_sort_in_place_takes_a_key_and_a_direction() -> None:
    match_indexes = [3, 9, 5, 9, 1]

    match_indexes.sort(reverse=True)
    assert match_indexes == [9, 9, 5, 3, 1]
    match_indexes.sort(key=lambda index: abs(index - 4))
    assert sorted(match_indexes[:2]) == [3, 5]


def test_a_slice_of_a_list_can_be_deleted_and_replaced() -> None:
    entries = [1, 2, 3, 4, 5]

    del entries[:2]
    entries[1:] = [7]

    assert entries == [3, 7]


def test_a_generator_can_be_closed_and_sees_it() -> None:
    seen = []

    def steps():  # type: ignore[no-untyped-def]
        try:
            yield 1
            yield 2
        finally:
            seen.append("closed")

    generator = steps()
    assert next(generator) == 1
    generator.close()

    assert seen == ["closed"]
    raises(StopIteration, next, generator)


def test_ticks_wrap_and_their_difference_does_not_show_it() -> None:
    if not MICROPYTHON:
        assert not hasattr(time, "ticks_ms")  # firmware counts by time.monotonic_ns, no wrap
        return
    before_wrap = ticks_add(0, -20)
    after_wrap = ticks_add(before_wrap, 50)

    assert before_wrap == TICKS_PERIOD - 20
    assert after_wrap == 30
    assert ticks_diff(after_wrap, before_wrap) == 50
    assert ticks_diff(before_wrap, after_wrap) == -50


def test_the_sender_of_a_datagram_can_be_a_key_and_can_be_answered() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = bind_to_free_port(server)

    client.sendto(b"first", address)
    client.sendto(b"second", address)
    senders = [server.recvfrom(64)[1] for _ in range(2)]
    keys = [sender if isinstance(sender, tuple) else bytes(sender) for sender in senders]
    server.sendto(b"reply", keys[0])

    assert keys[0] == keys[1]
    assert len({key: None for key in keys}) == 1
    assert client.recv(64) == b"reply"
    client.close()
    server.close()


def test_a_non_blocking_socket_without_a_datagram_raises_eagain() -> None:
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bind_to_free_port(endpoint)
    endpoint.setblocking(False)

    error = raises(OSError, endpoint.recvfrom, 64)

    assert error.errno in (11, 35)  # EAGAIN on Linux and on an ESP32; on macOS
    endpoint.close()


def bind_to_free_port(endpoint):  # type: ignore[no-untyped-def]
    for port in range(FIRST_PORT, FIRST_PORT + PORTS):
        address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
        try:
            endpoint.bind(address)
        except OSError:
            continue  # taken by someone else
        return address
    raise AssertionError("no free UDP port")
