"""The tree's hashes as C2SP tlog-tiles in a folder, so that standard tools read them.

A tile holds up to 256 hashes of one level; tiles are written once full and then never change, the
rightmost ones also as partial tiles. Tiles can be made again from the entries at any time.

Source: C2SP tlog-tiles specification.
"""

from collections.abc import Sequence
from pathlib import Path

from vallum.audit.merkle import extend, root_of
from vallum.base import IntegrityError, UnavailableError, write_atomic
from vallum.base.proofs import HASH_BYTES

WIDTH = 256
_HEIGHT = 8  # 2**8 hashes a tile


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return a tile's path: `tile/<level>/x001/x234/067`, and `.p/<width>` if partial."""
    groups = []
    rest = index
    while True:
        rest, group = divmod(rest, 1000)
        groups.append(f"{group:03d}")
        if rest == 0:
            break
    groups.reverse()
    name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{name}{partial}"


class Tiles:
    """Reads and extends the tiles in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def extend(self, size: int, hashes: Sequence[bytes]) -> None:
        """Write the tiles that appending leaf `hashes` to a tree of `size` changes.

        Raises:
            UnavailableError: The disk is full or gone; running it again mends it.
            IntegrityError: A tile that must be there is not.
        """
        level = 0
        added = list(hashes)
        while added:
            first, within = divmod(size, WIDTH)
            content = [*self._hashes(level, first, within), *added]
            completed: list[bytes] = []
            for number in range(0, len(content), WIDTH):
                tile = content[number : number + WIDTH]
                index = first + number // WIDTH
                self._write(tile_path(level, index, len(tile)), b"".join(tile))
                if len(tile) == WIDTH:
                    frontier: list[bytes] = []
                    extend(frontier, 0, tile)
                    completed.append(root_of(frontier))
            size = first
            added = completed
            level += 1

    def node(self, height: int, index: int, size: int) -> bytes:
        """Return the hash of a perfect subtree of the tree of `size`.

        Raises:
            IntegrityError: Its tile is missing or has another length.
        """
        level, inside = divmod(height, _HEIGHT)
        span = 1 << inside
        start = index * span
        tile, within = divmod(start, WIDTH)
        held = min(WIDTH, (size >> (_HEIGHT * level)) - tile * WIDTH)
        hashes = self._hashes(level, tile, held)[within : within + span]
        if len(hashes) != span:
            raise IntegrityError("the tiles do not reach that far", code="audit.tile")
        frontier: list[bytes] = []
        extend(frontier, 0, hashes)
        return root_of(frontier)

    def leaves(self, start: int, size: int) -> list[bytes]:
        """Return up to a tile of leaf hashes from `start` (a multiple of 256) on."""
        tile = start // WIDTH
        return self._hashes(0, tile, min(WIDTH, size - start))

    def _hashes(self, level: int, index: int, width: int) -> list[bytes]:
        if width <= 0:
            return []
        for held in dict.fromkeys((width, WIDTH)):  # a full tile holds every partial one
            path = self._folder / tile_path(level, index, held)
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UnavailableError(f"tile `{path}` cannot be read") from error
            if len(data) != held * HASH_BYTES:
                raise IntegrityError(
                    f"tile {level}/{index} has {len(data)} bytes", code="audit.tile"
                )
            return [data[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)]
        raise IntegrityError(f"tile {level}/{index} is missing", code="audit.tile")

    def _write(self, name: str, data: bytes) -> None:
        path = self._folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (path.exists() and path.read_bytes() == data):
                write_atomic(path, data)
        except OSError as error:
            raise UnavailableError(
                f"tile `{name}` cannot be written: {error.strerror}", code="audit.tile"
            ) from error
