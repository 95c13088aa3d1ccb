"""What libjpeg steps over in a JPEG's header and DALI's parser does not: stray bytes between the segments."""

START_OF_SCAN = 0xDA
# Markers that no length follows: TEM, the restarts, start and end of image. None belongs between a header's segments.
ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})


def is_orderly(content: bytes) -> bool:
    """Whether marker follows segment, without a byte between them, from the start of the image to that of the scan."""
    start = 2
    while (head := content[start : start + 4])[:1] == b"\xff" and len(head) == 4:
        marker, length = head[1], int.from_bytes(head[2:])
        if marker in ALONE or length < 2:
            return False
        if marker == START_OF_SCAN:
            return True
        start += 2 + length
    return False
