"""Everything on the server's side is swapped for an older copy: clients notice."""

import os
import shutil
import time
from pathlib import Path

import pytest
from running import Up, running

from vallum.base import IntegrityError
from vallum.sdk import Client, connect


def client(up: Up) -> Client:
    made = connect(up.url, token_file=up.folder / "data.keys/owner.key", ca_file=up.ca)
    up.clients.append(made)
    return made


@pytest.mark.guarantee("G7")
@pytest.mark.slow
def test_a_client_refuses_a_server_whose_operator_rolled_everything_back(tmp_path: Path) -> None:
    folder, copy = tmp_path / "place", tmp_path / "copy"
    folder.mkdir()
    with running(folder) as up:
        port = up.port
    shutil.copytree(folder, copy)
    with running(folder, port=port) as up:
        up.owner.identities.create("ana")
        anchor = client(up).anchor
        assert anchor is not None
        anchor.forget()  # seen for the first time, with what was just added
        client(up).workspace.show()
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)  # data, keys and the server's own anchor
    with running(folder, port=port) as up:
        os.utime(anchor.path, (0, 0))  # a minute has passed: a proof is due
        with pytest.raises(IntegrityError) as caught:
            client(up).workspace.show()
        assert caught.value.code in {"sdk.rollback", "sdk.fork"}
        assert "do not trust this server" in caught.value.message


def test_checkpoints_are_sent_elsewhere_on_a_timer(tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    more = ("--checkpoint-sink", share.as_uri(), "--checkpoint-every", "1")
    with running(tmp_path, arguments=more) as up:
        ids = {one.id for one in up.owner.workspace.posture().findings}
        assert "checkpoints.nowhere" not in ids
        end = time.monotonic() + 20
        while not (share / "newest.note").exists() and time.monotonic() < end:
            time.sleep(0.1)
    assert (share / "newest.note").read_text().startswith("vallum/ws-")
