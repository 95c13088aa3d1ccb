"""Which members of an archive may be read at all."""

import tarfile

from data_prep.system.errors import DataError


def check_member(archive: object, member: tarfile.TarInfo, most: int) -> None:
    """Refuse a member that leads out, is a link, a device or sparse, or takes over ``most`` bytes. Raises DataError."""
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise DataError(f"{archive}: member {member.name!a} leads out of the archive: refused")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise DataError(f"{archive}: member {member.name!a} is a link or a device: refused")
    if member.size > most:
        raise DataError(f"{archive}: member {member.name!a} would take {member.size} bytes: refused")
