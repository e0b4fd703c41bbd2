"""Frames that another implementation makes of what the documentation says, by other libraries."""

import hmac
import os
import struct
from hashlib import sha256

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from raft import hello, seal
from raft.access import ADMIN, READ, WRITE, Gate, credential
from raft.calling import Caller
from raft.interpreter import draw
from raft.messages import APPEND, COMMAND, MAX_DATAGRAM, MEMBERS, OK, Codec, Message
from raft.messages import READ as READ_KIND
from tests.messages.test_frames import (
    CLUSTER,
    GOLDEN,
    INCARNATIONS,
    KEY,
    SECRET,
    message,
    receiver,
    session,
    unhex,
    writable,
)

HIDDEN = 0x80
NAME = CLUSTER.encode()


def mac(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), sha256)


ROOT = bytes.fromhex(SECRET)
NUMBER = mac(ROOT, b"number ", NAME)[:2]
NODES = mac(ROOT, b"nodes ", NAME)
CLIENTS = mac(ROOT, b"clients ", NAME)
SECRECY = mac(ROOT, b"secrecy ", NAME)
TWO_TO_ONE = bytes((2, 1)) + INCARNATIONS[2] + INCARNATIONS[1]


def of_node(frame: bytes, count: int) -> bytes:
    frame += struct.pack("<I", count)
    return frame + mac(NODES, b"\2", TWO_TO_ONE, frame)[:16]


def client_key(number: int, role: int) -> bytes:
    return mac(CLIENTS, struct.pack("<HB", number, role))


def aes(key: bytes, iv: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key[:16]), modes.CBC(iv))


def hidden(key: bytes, text: bytes) -> bytes:
    iv = os.urandom(16)
    pad = padding.PKCS7(128).padder()
    encryptor = aes(key, iv).encryptor()
    return iv + encryptor.update(pad.update(text) + pad.finalize()) + encryptor.finalize()


def revealed(key: bytes, data: bytes) -> bytes:
    decryptor = aes(key, data[:16]).decryptor()
    unpad = padding.PKCS7(128).unpadder()
    return unpad.update(decryptor.update(data[16:]) + decryptor.finalize()) + unpad.finalize()


def test_the_documented_frames_have_the_seal_that_is_documented() -> None:
    for fields, _, text in GOLDEN:
        frame = unhex(text)
        assert frame[4:6] == NUMBER
        assert frame == of_node(frame[:-20], 1), fields


def test_a_key_has_the_number_that_is_documented() -> None:
    assert struct.pack("<H", KEY.number) == NUMBER
    for name in ("", "pump-house", "\N{PERSONAL COMPUTER}" * 20):
        key = seal.keys_of([SECRET], name)[0]
        assert struct.pack("<H", key.number) == mac(ROOT, b"number ", name.encode())[:2]


def test_a_hello_has_the_bytes_that_are_documented() -> None:
    codec = Codec(2, {})
    question, answer = bytes(range(8)), bytes(range(8, 16))

    n = hello.write(codec, KEY, 1, INCARNATIONS[2], question, answer, 7000)

    head = b"\xa2\x27\x02\x01" + NUMBER + b"\x32\x00"
    body = head + INCARNATIONS[2] + question + answer + struct.pack("<H", 7000)
    frame = body + mac(NODES, b"\1", body)[:16]
    assert bytes(codec.frame(n)) == frame
    assert KEY.is_hello(frame)


def test_a_request_has_the_bytes_that_are_documented() -> None:
    number, role, challenge = 0x1234, WRITE, b"\x33" * 8
    client = Caller([credential(KEY, number, role)], lambda low, high: 0x01020304)
    client.knows(1).challenge = challenge

    frame = bytes(client.frame(client.request(1, READ_KIND, 7, b"query")))

    body = b"\xa2\x21\x00\x01" + NUMBER + struct.pack("<HI", len(frame), 7) + b"query"
    body += struct.pack("<HB", number, role) + challenge + struct.pack("<II", 0x01020304, 1)
    made = body + mac(client_key(number, role), b"\3", body)[:16]
    assert frame == made and len(frame) == 12 + 5 + 35
    gate = Gate(1, [KEY], draw, bytearray(MAX_DATAGRAM))
    gate.challenge = challenge
    heard = gate.hear(made)
    assert heard and heard[:2] == (READ_KIND, 7) and bytes(heard[2]) == b"query"


def test_a_reply_has_the_bytes_that_are_documented() -> None:
    gate = Gate(1, [KEY], draw, bytearray(MAX_DATAGRAM))
    number, role, channel = 5, READ, 0x0A0B0C0D
    own = credential(KEY, number, role)

    frame = bytes(gate.frame(gate.reply((own, channel, False), 7, OK, 3, b"result")))

    body = b"\xa2\x23\x01\x00" + NUMBER + struct.pack("<HIBB", 14 + 6 + 16, 7, OK, 3) + b"result"
    made = body + mac(client_key(number, role), b"\4", struct.pack("<I", channel), body)[:16]
    assert frame == made
    client = Caller([own], lambda low, high: channel)
    assert client.read(made) == (1, 7, OK, 3, b"result")


def test_a_node_understands_what_is_hidden_as_documented() -> None:
    fields = (APPEND, 2, 1, 8, 300, 7, 5, 5)
    entry = struct.pack("<IHB", 8, 3, COMMAND) + b"abc"
    text = hidden(mac(SECRECY, TWO_TO_ONE), entry)
    head = b"\xa2" + bytes((APPEND | HIDDEN,)) + b"\2\1" + NUMBER
    head += struct.pack("<HIIIII", 28 + len(text) + 20, *fields[3:])
    m = Message()

    assert receiver().decode(writable(of_node(head + text, 1)), m)

    assert list(m.entries) == [(8, COMMAND, b"abc")]


def test_what_a_node_hides_can_be_understood_as_documented() -> None:
    codec = Codec(2, {1: session(2, 1, is_secret=True)})
    data = bytes(range(100))
    for count in (1, 2):
        n = codec.encode(message((APPEND, 2, 1, 8, 300, 7, 5, 5), [(8, COMMAND, data)]))
        frame = bytes(codec.frame(n))

        assert frame == of_node(frame[:-20], count)
        assert frame[1] == APPEND | HIDDEN and data[:16] not in frame
        text = revealed(mac(SECRECY, TWO_TO_ONE), frame[28:-20])
        assert text == struct.pack("<IHB", 8, 100, COMMAND) + data


def test_what_a_client_and_a_node_hide_can_be_understood_as_documented() -> None:
    own = credential(KEY, 1, ADMIN)
    key = mac(client_key(1, ADMIN), b"secrecy")
    client = Caller([own], draw, is_secret=True)
    gate = Gate(1, [KEY], draw, bytearray(MAX_DATAGRAM))
    client.knows(1).challenge = gate.challenge

    frame = bytes(client.frame(client.request(1, MEMBERS, 7, b"question")))
    heard = gate.hear(frame)
    assert heard
    answer = bytes(gate.frame(gate.reply(heard[3], 7, OK, 1, b"answer")))

    assert frame[1] == MEMBERS | HIDDEN and revealed(key, frame[12:-35]) == b"question"
    assert bytes(heard[2]) == b"question"
    assert answer[1] & HIDDEN and revealed(key, answer[14:-16]) == b"answer"
    assert client.read(answer) == (1, 7, OK, 1, b"answer")
