"""Whether a PNG is sound: torchvision's decoder does not report a damaged one but crashes the process."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by color type; palettes (3) are none of ours
# Chunks that decoders read or skip without a complaint; of others, such as those of animations, nothing is assumed.
HARMLESS = {b"tEXt", b"zTXt", b"iTXt", b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"iCCP", b"tIME", b"bKGD", b"sBIT", b"eXIf"}


def sound(data: bytes) -> bool:
    """Whether a file is a PNG of 8 or 16 bits a channel, without palette and interlacing, that is whole to the last bit."""
    if data[:8] != SIGNATURE or data[12:16] != b"IHDR" or len(data) < 45:
        return False
    width, height, depth, color, compression, filtering, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if depth not in (8, 16) or color not in CHANNELS or compression or filtering or interlaced or not width * height:
        return False
    pixels = _compressed(data)
    if not pixels:
        return False
    line = 1 + width * CHANNELS[color] * depth // 8  # the first byte is the filter, 0 to 4
    reader = zlib.decompressobj()
    try:
        lines = reader.decompress(pixels, line * height + 1)
    except zlib.error:
        return False
    return reader.eof and not reader.unused_data and len(lines) == line * height and max(lines[::line]) <= 4


def _compressed(data: bytes) -> bytes:
    """The compressed pixels; empty if a chunk is unknown, in the wrong place, cut off, or not what its checksum says."""
    start, names, parts = 8, [], []
    while start + 12 <= len(data):
        length, name = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8]
        end = start + 12 + length
        if end > len(data) or zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return b""
        if name == b"IDAT":
            parts.append(data[start + 8 : end - 4])
        names.append(name)
        start = end
        if name == b"IEND":
            break
    first = names.index(b"IDAT") if parts else 0
    together = names[first : first + len(parts)] == [b"IDAT"] * len(parts)
    others = [name for name in names[1:-1] if name != b"IDAT"]
    return b"".join(parts) if together and names[-1] == b"IEND" and HARMLESS.issuperset(others) else b""
