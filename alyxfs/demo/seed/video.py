"""Writes a small video: an MP4 of pictures in JPEG, made box by box, so that no package for videos is needed.

The boxes are those of ISO 14496-12; that the pictures are JPEGs is said by object type 0x6C (ISO 14496-1), which all
common players and OpenCV know.
"""

import io
import struct
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 160, 120
RATE = 30
FRAMES = 60
IDENTITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


def video(path: Path, _largest: int) -> None:
    """Write two seconds of a moving square."""
    frames = [frame(number) for number in range(FRAMES)]
    kind = box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso2mp41")
    content = box(b"mdat", *frames)
    path.write_bytes(kind + content + index([len(each) for each in frames], len(kind) + 8))


def frame(number: int) -> bytes:
    """One picture."""
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).rectangle((number, 20, number + 40, 60), fill=255)
    sink = io.BytesIO()
    picture.convert("RGB").save(sink, "JPEG", quality=60)
    return sink.getvalue()


def index(sizes: list[int], first: int) -> bytes:
    """Describe frames of these sizes, one behind the other from the first byte on."""
    count = len(sizes)
    movie = full(b"mvhd", 0, struct.pack(">IIIIIH10x", 0, 0, RATE, count, 0x10000, 0x100), IDENTITY, bytes(24), word(2))
    track = full(b"tkhd", 7, struct.pack(">IIIII", 0, 0, 1, 0, count), bytes(16), IDENTITY, fixed(WIDTH), fixed(HEIGHT))
    media = full(b"mdhd", 0, struct.pack(">IIIIHH", 0, 0, RATE, count, 0x55C4, 0))
    handler = full(b"hdlr", 0, bytes(4), b"vide", bytes(12), b"video\0")
    where = box(b"dinf", full(b"dref", 0, word(1), full(b"url ", 1)))
    table = box(
        b"stbl",
        full(b"stsd", 0, word(1), sample_entry()),
        full(b"stts", 0, struct.pack(">III", 1, count, 1)),
        full(b"stsc", 0, struct.pack(">IIII", 1, 1, count, 1)),
        full(b"stsz", 0, struct.pack(f">II{count}I", 0, count, *sizes)),
        full(b"stco", 0, struct.pack(">II", 1, first)),
    )
    information = box(b"minf", full(b"vmhd", 1, bytes(8)), where, table)
    return box(b"moov", movie, box(b"trak", track, box(b"mdia", media, handler, information)))


def sample_entry() -> bytes:
    """Say what the frames are."""
    decoder = descriptor(4, struct.pack(">BB3xII", 0x6C, 0x11, 0, 0))
    stream = full(b"esds", 0, descriptor(3, struct.pack(">HB", 1, 0) + decoder + descriptor(6, b"\2")))
    picture = struct.pack(">HHIIIH32xHh", WIDTH, HEIGHT, 0x480000, 0x480000, 0, 1, 24, -1)
    return box(b"mp4v", bytes(6), struct.pack(">H16x", 1), picture, stream)


def descriptor(kind: int, content: bytes) -> bytes:
    return bytes([kind, len(content)]) + content


def full(kind: bytes, flags: int, *parts: bytes) -> bytes:
    return box(kind, word(flags), *parts)


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return word(len(content) + 8) + kind + content


def word(number: int) -> bytes:
    return struct.pack(">I", number)


def fixed(number: int) -> bytes:
    return word(number << 16)
