"""A client refuses a server whose log does not continue what it saw; by mutation."""

import base64
from pathlib import Path

import msgspec
import pytest

from vallum.audit.merkle import consistency_path, extend, root_of
from vallum.base import IntegrityError, UnavailableError
from vallum.base.proofs import leaf_hash, node_hash
from vallum.schema.rules import ConsistencyProof
from vallum.sdk.anchor import ServerAnchor

URL = "https://127.0.0.1:8443"
LEAVES = [leaf_hash(b"%d" % at) for at in range(40)]


def node(leaves: list[bytes], height: int, index: int) -> bytes:
    if height == 0:
        return leaves[index]
    return node_hash(node(leaves, height - 1, 2 * index), node(leaves, height - 1, 2 * index + 1))


def note(size: int, leaves: list[bytes] = LEAVES, origin: str = "vallum/ws") -> str:
    frontier: list[bytes] = []
    extend(frontier, 0, leaves[:size])
    root = base64.b64encode(root_of(frontier)).decode()
    return f"{origin}\n{size}\n{root}\n\n— {origin} c2lnbmF0dXJl\n"


def proof(old: int, new: int, leaves: list[bytes] = LEAVES, **more: str) -> ConsistencyProof:
    path = consistency_path(lambda height, at: node(leaves, height, at), old, new)
    return ConsistencyProof(
        old=old,
        new=new,
        path=tuple(one.hex() for one in path),
        checkpoint=note(new, leaves, **more),
    )


@pytest.fixture
def anchor(tmp_path: Path) -> ServerAnchor:
    made = ServerAnchor(tmp_path / "anchors" / "a.json", URL)
    made.advance(None, proof(1, 13))
    return made


def test_a_log_that_goes_on_is_remembered(anchor: ServerAnchor) -> None:
    for old, new in ((13, 13), (13, 17), (17, 40)):
        anchor.advance(anchor.read(), proof(old, new))
        seen = anchor.read()
        assert seen is not None
        assert seen.size == new
    assert anchor.path.stat().st_mode & 0o777 == 0o600


def test_a_shorter_log_is_a_rollback(anchor: ServerAnchor) -> None:
    with pytest.raises(IntegrityError) as caught:
        anchor.advance(anchor.read(), proof(12, 12))
    assert caught.value.code == "sdk.rollback"
    assert "--forget" in caught.value.hint


def test_a_rewritten_entry_is_a_fork(anchor: ServerAnchor) -> None:
    other = [*LEAVES]
    other[5] = leaf_hash(b"changed")
    for new in (13, 30):
        with pytest.raises(IntegrityError) as caught:
            anchor.advance(anchor.read(), proof(13, new, other))
        assert caught.value.code == "sdk.fork"


def test_every_changed_part_of_a_proof_is_refused(anchor: ServerAnchor) -> None:
    good = proof(13, 30)
    for at in range(len(good.path)):
        path = list(good.path)
        path[at] = "00" * 32
        with pytest.raises(IntegrityError):
            anchor.advance(anchor.read(), msgspec.structs.replace(good, path=tuple(path)))
    for path in ((), good.path[:-1], (*good.path, "00" * 32), ("xx", *good.path[1:])):
        with pytest.raises(IntegrityError):
            anchor.advance(anchor.read(), msgspec.structs.replace(good, path=tuple(path)))
    seen = anchor.read()
    assert seen is not None
    assert seen.size == 13


def test_another_workspace_at_the_same_address_is_refused(anchor: ServerAnchor) -> None:
    with pytest.raises(IntegrityError, match="another workspace"):
        anchor.advance(anchor.read(), proof(13, 30, origin="vallum/other"))


@pytest.mark.parametrize("text", ["", "a\nb\nc\n", "o\n-1\nAA==\n", "o\n3\nAA==\n", "o\n3"])
def test_a_malformed_checkpoint_is_refused(anchor: ServerAnchor, text: str) -> None:
    bad = msgspec.structs.replace(proof(13, 30), checkpoint=text)
    with pytest.raises(IntegrityError) as caught:
        anchor.advance(anchor.read(), bad)
    assert caught.value.code == "sdk.checkpoint"


def test_a_damaged_anchor_is_not_taken_for_none(anchor: ServerAnchor) -> None:
    anchor.path.write_text("{}")
    with pytest.raises(IntegrityError, match="is damaged"):
        anchor.read()
    anchor.forget()
    assert anchor.read() is None


def test_anchors_are_kept_by_server_and_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALLUM_STATE_DIR", str(tmp_path))
    authority = tmp_path / "ca.pem"
    authority.write_text("one")
    first = ServerAnchor.of(URL, authority)
    authority.write_text("two")
    second = ServerAnchor.of(URL, authority)
    assert first is not None
    assert second is not None
    assert first.path != second.path
    monkeypatch.setenv("VALLUM_STATE_DIR", "off")
    assert ServerAnchor.of(URL, None) is None


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    anchor = ServerAnchor(tmp_path / "file" / "anchors" / "a.json", URL)
    with pytest.raises(UnavailableError) as caught:
        anchor.advance(None, proof(1, 13))
    assert "VALLUM_STATE_DIR" in caught.value.hint
