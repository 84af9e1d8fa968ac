"""The door of MLflow's protocol: its table of paths, and what counts as a credential."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from vallum.schema.mlflow_routes import FILE_PREFIXES, FILE_ROUTES, MLFLOW_ROUTES, PREFIXES
from vallum.server.mlflow.door import credential_of, find_route


def test_every_row_is_found_under_every_prefix_and_no_other_method_is() -> None:
    for prefix in PREFIXES:
        for row in MLFLOW_ROUTES:
            path = prefix + row.path.replace("{", "").replace("}", "")
            found = find_route(row.method, path)
            assert found is not None
            assert found[0] is row
            assert all(name == value for name, value in found[1].items())
            methods = {one.method for one in MLFLOW_ROUTES if one.path == row.path}
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
                other = find_route(method, path)
                assert other is None or "{" in other[0].path


def test_files_are_found_by_whatever_name() -> None:
    for prefix in FILE_PREFIXES:
        for row in FILE_ROUTES:
            found = find_route(row.method, prefix + row.path.replace("{path}", "e/r/artifacts/a b"))
            assert found is not None
            assert found[0] is row
            assert found[1] == ({"path": "e/r/artifacts/a b"} if row.path else {})


@given(st.sampled_from(["GET", "POST", "PATCH"]), st.text(max_size=80))
def test_any_path_is_in_the_table_or_not(method: str, path: str) -> None:
    for prefix in ("", *PREFIXES, *FILE_PREFIXES):
        found = find_route(method, f"{prefix}/{path}")
        if found is not None:
            assert found[0].method == method


@given(st.text(max_size=200))
def test_any_header_is_a_credential_or_none(header: str) -> None:
    credential_of(header)
    credential_of(f"Basic {header}")
    credential_of(f"Bearer {header}")


@given(
    user=st.text(st.characters(exclude_characters=":", codec="utf-8"), max_size=20),
    key=st.binary(max_size=60),
)
def test_basic_is_user_and_key(user: str, key: bytes) -> None:
    packed = base64.b64encode(user.encode() + b":" + key).decode()
    named, token = credential_of(f"basic {packed}")
    assert named == user
    assert token is not None
    assert token.reveal() == key
