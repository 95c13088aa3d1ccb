"""Which files are images, by the ends of their names."""

SUFFIXES = (b".jpg", b".jpeg", b".png", b".webp")
KINDS = ", ".join(suffix.decode() for suffix in SUFFIXES)


def is_image(name: bytes) -> bool:
    """Return whether a file's name ends like that of an image, in any case."""
    return name.lower().endswith(SUFFIXES)
