"""The kernel's word that nothing happened in some folders: one question instead of one a file.

Source: inotify(7), statfs(2) of Linux.
"""

import ctypes
import os
import struct
import weakref
from collections.abc import Iterable

_TOLD = 0x002 | 0x004 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400 | 0x800
"""MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF, MOVE_SELF."""
_ONLYDIR = 0x01000000
# ext2 to ext4, XFS, Btrfs, tmpfs, F2FS: what happens there happens through this kernel. Not
# overlayfs, whose layers may be changed behind it, nor anything that comes over a network.
_LOCAL = frozenset({0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010})
_STATFS_BYTES = 256  # more than struct statfs has anywhere
_READ_BYTES = 64 * 1024


class FolderEvents:
    """Follows folders; knows whether something happened since it was asked before.

    It cannot tell of a write through a mapping of memory, or through a hard link that lies
    elsewhere: who relies on it also looks from time to time.
    """

    def __init__(self) -> None:
        """Open; where that fails something always happened."""
        self._blind = True
        self._file = -1
        try:
            self._library = ctypes.CDLL(None)
            self._file = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, AttributeError):  # no Linux
            pass
        if self._file >= 0:
            weakref.finalize(self, os.close, self._file)

    def follow(self, folders: Iterable[str]) -> None:
        """Follow the folders that have these names now, each without those below it.

        One that cannot be followed blinds all, until the next call.
        """
        # A name may stand for another folder than before; to follow the same one twice is nothing.
        added = [self._add(os.fsencode(folder)) for folder in folders if self._file >= 0]
        self._blind = not added or not all(added)

    def stirred(self) -> bool:
        """Tell whether something happened in a followed folder, or may have."""
        if self._blind:
            return True
        told = False
        try:
            while os.read(self._file, _READ_BYTES):
                told = True
        except BlockingIOError:
            return told
        except OSError:
            self._blind = True
        return True

    def _add(self, folder: bytes) -> bool:
        if not self._is_local(folder):
            return False
        added: int = self._library.inotify_add_watch(self._file, folder, _TOLD | _ONLYDIR)
        return added >= 0

    def _is_local(self, folder: bytes) -> bool:
        found = ctypes.create_string_buffer(_STATFS_BYTES)
        if self._library.statfs(folder, found) != 0:
            return False
        (kind,) = struct.unpack_from("@l", found)  # f_type comes first
        return kind & 0xFFFFFFFF in _LOCAL
