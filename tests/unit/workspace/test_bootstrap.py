"""A first start that is refused leaves what it found."""

from pathlib import Path

import pytest

from vallum.base import ConflictError, Secret, UnavailableError
from vallum.workspace import bootstrap
from vallum.workspace.bootstrap import Places, create, exists


def test_a_refused_first_start_leaves_no_keys(tmp_path: Path) -> None:
    places = Places.below(tmp_path / "data")
    places.data.mkdir()
    (places.data / "mine").write_text("x")
    with pytest.raises(ConflictError, match="is not empty"):
        create(places)
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot be made"):
        create(Places.below(tmp_path / "file"))
    assert {one.name for one in tmp_path.iterdir()} == {"data", "file"}
    assert [one.name for one in places.data.iterdir()] == ["mine"]


def test_one_that_breaks_off_can_be_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places.below(tmp_path / "data")

    def broken(*_: object, **__: object) -> Secret:
        raise UnavailableError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_first_rows", broken)
        with pytest.raises(UnavailableError):
            create(places)
    assert list(tmp_path.iterdir()) == []
    places.keys.mkdir()  # what was there before is not ours to remove
    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "_first_rows", broken)
        with pytest.raises(UnavailableError):
            create(places)
    assert [one.name for one in tmp_path.iterdir()] == ["data.keys"]
    create(places)
    assert exists(places)
