"""Private files: written completely or not at all, readable by their owner only; links are never followed.

Files of other people, such as a config file, are read here, too: opened once, and checked before the first byte. A file
for other people is written here, too, as completely.

Standard library only, so that `gateway status` is quick.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

#: what to do about a file or directory that cannot be used
REPAIR_HINT = "Move it away, or correct its owner and mode."

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def replace_private_file(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace a file.

    Args:
        durable: whether the file must survive a power failure. Waiting for the disk takes time, so say
            False for a file that nobody needs after a restart of the machine.

    Raises:
        OSError: it cannot be written; the present file stays as it is, and no draft is left.
    """
    with _write_draft(path, content, durable=durable) as draft:
        draft.replace(path)
    if durable:
        sync_names(path.parent)


def replace_readable_file(path: Path, content: bytes) -> None:
    """Replace a file that others may read, as the umask allows; it need not survive a power failure.

    Raises:
        OSError: it cannot be written; the present file stays as it is, and no draft is left.
    """
    with _write_draft(path, content, durable=False, mode=0o666) as draft:
        draft.replace(path)


def replace_shared_file(path: Path, content: bytes, *, like: Path) -> None:
    """Replace a file that may belong to other people, durably.

    Args:
        like: file whose mode, and as far as possible owner, it gets; without such a file it is private.

    Raises:
        OSError: it cannot be written; the present file stays as it is, and no draft is left.
    """
    try:
        model = like.stat()
    except FileNotFoundError:
        model = None
    with _write_draft(path, content, durable=True) as draft:
        if model is not None:
            with contextlib.suppress(PermissionError):  # the user is not the owner, or not in the group
                if hasattr(os, "chown"):
                    os.chown(draft, model.st_uid, model.st_gid)
            draft.chmod(stat.S_IMODE(model.st_mode))
        draft.replace(path)
    sync_names(path.parent)


def create_private_file(path: Path, content: bytes) -> bool:
    """Write a file only if there is none; return False if there is one.

    Raises:
        OSError: it cannot be written; no draft is left.
    """
    with _write_draft(path, content, durable=True) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    sync_names(path.parent)
    return True


def read_private_file(path: Path, max_bytes: int) -> bytes:
    """Return at most the first `max_bytes` of a file that only this user and root may change.

    Raises:
        OSError: there is no such file, it is a link or no plain file, another user may change it, or it cannot
            be read.
    """
    with open_plain_file(path, follow=False) as descriptor:
        check_owner(os.fstat(descriptor))
        return os.read(descriptor, max_bytes)


def read_plain_file(path: Path, max_bytes: int | None = None, *, owned: bool = False) -> bytes:
    """Return a file, or its first `max_bytes`; a link is followed.

    Args:
        owned: whether only this user and root may be able to change it.

    Raises:
        OSError: there is no such file, it is no plain file, the link leads nowhere, it cannot be read, or another
            user may change it.
    """
    with open_plain_file(path, follow=True) as descriptor:
        if owned:
            check_owner(os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(-1 if max_bytes is None else max_bytes)


@contextlib.contextmanager
def open_plain_file(path: Path, *, follow: bool) -> Iterator[int]:
    """Open a file for reading, and check that it is one: a pipe would block, a directory has no bytes.

    Raises:
        FileNotFoundError: nothing has this name.
        OSError: it is something else, or it cannot be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | _NO_WAIT
    try:
        descriptor = os.open(path, flags if follow else flags | _NO_FOLLOW)
    except FileNotFoundError:
        if follow and os.path.islink(path):
            raise OSError(errno.ENOLINK, f"it is a link to {os.readlink(path)}, which does not exist") from None
        raise
    except OSError as error:
        if not follow and os.path.islink(path):
            raise OSError(error.errno, "it is a link, which is not followed") from None
        raise
    try:
        if (kind := describe_kind(os.fstat(descriptor).st_mode)) is not None:
            raise OSError(errno.EINVAL, f"it is {kind}, not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def open_output_file(path: Path, *, append: bool) -> int:
    """Return the descriptor of a file to write to, which is created if it is missing, or emptied unless `append`.

    Raises:
        OSError: there is something else than a plain file, or it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | _NO_FOLLOW | _NO_WAIT
    descriptor = os.open(path, flags | (os.O_APPEND if append else os.O_TRUNC), 0o600)
    if (kind := describe_kind(os.fstat(descriptor).st_mode)) is not None:
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"it is {kind}, not a plain file")
    return descriptor


def describe_kind(mode: int) -> str | None:
    """Return what something in the place of a plain file is; None if it is a plain file."""
    if stat.S_ISREG(mode):
        return None
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFLNK: "a link"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def check_owner(found: os.stat_result) -> None:
    """Check that only this user and root can change a file.

    Raises:
        OSError: it belongs to another user, or everyone may write to it.
    """
    if not hasattr(os, "geteuid"):  # Windows has other rights
        return
    me = os.geteuid()
    if me != 0 and found.st_uid not in (0, me):  # root may work for the owner of a state directory
        raise OSError(errno.EPERM, "it belongs to another user")
    if found.st_mode & stat.S_IWOTH:
        raise OSError(errno.EPERM, "everyone may write to it")


@contextlib.contextmanager
def _write_draft(path: Path, content: bytes, *, durable: bool, mode: int = 0o600) -> Iterator[Path]:
    """Write a draft in the same directory; remove it at the end of the block if it is still there."""
    draft = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            give_to_owner(descriptor, path.parent)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        yield draft
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def give_tree_to_owner(top: Path, like: Path) -> None:
    """Give what root has made to the owner of a directory, who could not read it otherwise.

    Args:
        top: file or directory, with all that is in it.

    Raises:
        OSError: that is refused.
    """
    give_names_to_owner([top], like)
    for directory, directories, files in os.walk(top):
        give_names_to_owner([Path(directory, name) for name in (*directories, *files)], like)


def give_names_to_owner(names: Iterable[Path], like: Path) -> None:
    """Give files and directories that root has made to the owner of a directory.

    Raises:
        OSError: that is refused.
    """
    if os.name == "posix" and os.geteuid() == 0 and (owner := like.stat()).st_uid != 0:
        for name in names:
            if os.path.lexists(name) and name.lstat().st_uid == 0:
                os.lchown(name, owner.st_uid, owner.st_gid)


def give_to_owner(descriptor: int, directory: Path) -> None:
    """Give a file that root makes to the owner of its directory, who could not read it otherwise."""
    if os.name == "posix" and os.geteuid() == 0:
        owner = directory.stat()
        if owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def sync_path(path: Path) -> None:
    """Put a file, or the names in a directory, on disk. Windows cannot open a directory, and needs no such step.

    Raises:
        OSError: it cannot be done; some file systems refuse it for directories.
    """
    is_directory = path.is_dir()
    if is_directory and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if is_directory else os.O_RDWR)  # Windows syncs only what may be written
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(directory: Path) -> None:
    """Make a new name in a directory durable, if possible."""
    # The file itself is complete. Some file systems refuse this step, a directory may be unreadable, and a process
    # may have too many open files.
    with contextlib.suppress(OSError):
        sync_path(directory)
