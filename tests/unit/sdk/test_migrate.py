"""Sources of an import are untrusted: what is not MLflow's is refused, and nothing else is read."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_store import SCHEMA, small_store

from vallum.base import InputError, NotFoundError, VallumError
from vallum.sdk.migrate import Grants, open_source, open_sqlite, rights_before
from vallum.sdk.migrate.folder import Folder
from vallum.sdk.migrate.ledger import Ledger
from vallum.sdk.migrate.rows import checked_postgres
from vallum.sdk.migrate.source import Holder, Source, integer, real, text
from vallum.sdk.migrate.store import SqlSource


@contextlib.contextmanager
def opened(path: Path, artifacts: Path | None = None) -> Iterator[Source]:
    source = open_source(f"sqlite:///{path}", artifacts=artifacts)
    try:
        yield source
    finally:
        source.close()


def database(path: Path, script: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.executescript(script)
    return path


def test_a_store_is_read_as_it_is(tmp_path: Path) -> None:
    small_store(tmp_path)
    with opened(tmp_path / "mlflow.db", tmp_path / "mlflow-files") as source:
        (one,) = source.experiments()
        assert (one.name, source.count(one.id)) == ("loyalty", (1, 3))
        (run,) = source.runs(one.id)
        assert (run.user, run.params, run.ended_ms - run.started_ms) == (
            "mia",
            {"depth": "3"},
            9000,
        )
        assert [point.value for point in source.points(run)] == [1, 1 / 2, 1 / 3]
        holder = Holder("run", run.id, run.experiment_id, run.place)
        assert [file.path for file in source.files(holder) or ()] == ["model/model.onnx"]


def test_an_old_store_without_newer_tables_and_columns_is_read(tmp_path: Path) -> None:
    path = database(tmp_path / "old.db", """
        CREATE TABLE experiments (experiment_id INTEGER, name VARCHAR, artifact_location VARCHAR,
            lifecycle_stage VARCHAR);
        CREATE TABLE runs (run_uuid VARCHAR, experiment_id INTEGER, status VARCHAR,
            start_time BIGINT, artifact_uri VARCHAR, lifecycle_stage VARCHAR, user_id VARCHAR);
        CREATE TABLE metrics (key VARCHAR, value FLOAT, timestamp BIGINT, run_uuid VARCHAR,
            step BIGINT);
        CREATE TABLE params (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
        CREATE TABLE tags (key VARCHAR, value VARCHAR, run_uuid VARCHAR);
        INSERT INTO experiments VALUES (0, 'Default', './mlruns/0', 'active');
        INSERT INTO runs VALUES ('r', 0, 'FINISHED', NULL, '', 'active', 'mia');
        INSERT INTO metrics VALUES ('m', 1.5, 7, 'r', 0);
    """)  # fmt: skip
    with opened(path) as source:
        (run,) = source.runs("0")
        assert [point.at_ms for point in source.points(run)] == [7]
        assert list(source.models("0")) == []
        assert source.registered() == []


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE runs (run_uuid)",
        "CREATE VIEW experiments AS SELECT 1",
        SCHEMA.read_text() + "DROP TABLE tags; CREATE VIEW tags AS SELECT 1;",
        SCHEMA.read_text() + "DROP TABLE tags; CREATE VIRTUAL TABLE tags USING fts5(key, value);",
    ],
    ids=["another", "view", "view of a table", "virtual table"],
)
def test_a_database_of_something_else_is_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(InputError, match="not an MLflow store"):
        open_source(f"sqlite:///{database(tmp_path / 'x.db', script)}")


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\x00" + bytes(100), b"not a database" * 99]
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(InputError):
        open_source(str(tmp_path / "x.db"))


def test_a_store_can_neither_run_functions_nor_be_written(tmp_path: Path) -> None:
    small_store(tmp_path)
    rows = open_sqlite(str(tmp_path / "mlflow.db"))
    for query in (
        "DELETE FROM runs",
        "SELECT load_extension('x')",
        "SELECT randomblob(1000000000)",
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
        "ATTACH 'y.db' AS y",
        "PRAGMA query_only = OFF",
    ):
        with pytest.raises(InputError, match="not an MLflow store"):
            list(rows.select(query))
    rows.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [("start_time", "'soon'"), ("start_time", "1e300"), ("name", "x'ff00'"), ("end_time", "2e18")],
)
def test_values_of_another_type_are_refused(tmp_path: Path, column: str, value: str) -> None:
    small_store(tmp_path)
    database(tmp_path / "mlflow.db", f"UPDATE runs SET {column} = {value}")  # noqa: S608 - its own words
    with opened(tmp_path / "mlflow.db") as source, pytest.raises(InputError):
        list(source.runs("1"))


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary())
def test_any_value_is_taken_or_refused(value: object) -> None:
    for take in (text, integer, real):
        with contextlib.suppress(VallumError):
            take(value)


# -- files --------------------------------------------------------------------------------------


def test_a_place_outside_the_folder_is_not_read(tmp_path: Path) -> None:
    """A database that names `/home/…/.ssh` as a run's files must not have them imported."""
    root, outside = tmp_path / "files", tmp_path / "private"
    outside.mkdir()
    (outside / "id_ed25519").write_text("key")
    (root / "1").mkdir(parents=True)
    (root / "1" / "linked").symlink_to(outside)
    folder = Folder(root)
    for place in (
        str(outside),
        outside.as_uri(),
        f"mlflow-artifacts:/../{outside.name}",
        "mlflow-artifacts:/1/linked",
        "mlflow-artifacts:/%2e%2e/private",
        f"../{outside.name}",
        "",
        "/",
    ):
        assert folder.files(Holder("run", "r", "1", place)) is None, place
    for experiment, run in (("..", "private"), ("1", "../../private"), ("/", str(outside)[1:])):
        assert folder.files(Holder("run", run, experiment, "s3://bucket/x")) is None


def test_links_within_a_run_are_passed_over(tmp_path: Path) -> None:
    place = tmp_path / "1" / "r" / "artifacts"
    place.mkdir(parents=True)
    (tmp_path / "secret").write_text("key")
    (place / "link").symlink_to(tmp_path / "secret")
    (place / "file").write_text("fine")
    holder = Holder("run", "r", "1", "s3://bucket/1/r/artifacts")
    folder = Folder(tmp_path)
    assert [one.path for one in folder.files(holder) or ()] == ["file"]
    for path in ("link", "../../../secret", "missing", "."):
        with pytest.raises(NotFoundError):
            folder.open(holder, path)
    with folder.open(holder, "file") as content:
        assert content.read() == b"fine"


# -- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("postgresql://mia:pw@127.0.0.1/db", "import.password"),
        ("postgresql://127.0.0.1/db?password=pw", "import.password"),
        ("postgresql+psycopg2://mia:pw@db/x", "import.password"),
        ("postgresql://db.example.org/x?sslmode=disable", "import.tls"),
        ("postgresql://db.example.org/x?sslmode=require", "import.tls"),
        ("postgresql://127.0.0.1/x?hostaddr=192.0.2.1&sslmode=allow", "import.tls"),
        ("postgresql://127.0.0.1/x?service=other", "import.url"),
        ("http://mia:pw@127.0.0.1:5000", "import.password"),
        ("http://mlflow.example.org", "import.plain-http"),
        ("mysql://127.0.0.1/mlflow", "import.url"),
    ],
)
def test_addresses_that_would_give_a_secret_away_are_refused(address: str, code: str) -> None:
    with pytest.raises(InputError) as refused:
        open_source(address)
    assert refused.value.code == code
    assert "pw" not in refused.value.message + refused.value.hint


def test_another_machine_must_show_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = checked_postgres("postgresql://mia@db.example.org:5433/mlflow")
    assert "sslmode=verify-full" in taken
    assert "sslrootcert=system" in taken
    assert "ssl" not in checked_postgres("postgresql+psycopg://mia@/x?host=/tmp")
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert "sslmode=verify-full" in checked_postgres("postgresql:///mlflow")


# -- rights -------------------------------------------------------------------------------------

USERS = """
    CREATE TABLE users (id INTEGER, username VARCHAR, password_hash VARCHAR, is_admin BOOLEAN);
    INSERT INTO users VALUES (1, 'admin', 'x', 1), (2, 'mia', 'x', 0), (3, 'noa', 'x', 0);
"""
OLD = """
    CREATE TABLE experiment_permissions (id, experiment_id VARCHAR, user_id, permission VARCHAR);
    INSERT INTO experiment_permissions VALUES (1, '7', 2, 'EDIT'), (2, '8', 2, 'NO_PERMISSIONS');
    CREATE TABLE registered_model_permissions (id, name VARCHAR, user_id, permission VARCHAR);
    INSERT INTO registered_model_permissions VALUES (1, 'risk', 3, 'MANAGE');
"""
NEW = """
    CREATE TABLE roles (id INTEGER, name VARCHAR, workspace VARCHAR);
    CREATE TABLE role_permissions (id, role_id, resource_type VARCHAR, resource_pattern VARCHAR,
        permission VARCHAR);
    CREATE TABLE user_role_assignments (id, user_id, role_id);
    INSERT INTO role_permissions VALUES (1, 1, 'experiment', '7', 'EDIT'),
        (2, 1, 'experiment', '8', 'DENY'), (3, 1, 'experiment', '*', 'READ'),
        (4, 2, 'registered_model', 'risk', 'MANAGE'), (5, 2, 'workspace', '*', 'USE');
    INSERT INTO user_role_assignments VALUES (1, 2, 1), (2, 3, 2);
"""


@pytest.mark.parametrize(
    ("script", "noa_on_experiments"), [(USERS + OLD, "READ"), (USERS + OLD + NEW, "USE")],
    ids=["before 3.13", "since"],
)  # fmt: skip
def test_rights_before_are_those_of_mlflow(
    tmp_path: Path, script: str, noa_on_experiments: str
) -> None:
    rows = open_sqlite(str(database(tmp_path / "auth.db", script)))
    found = rights_before(Grants(rows, "READ"), {"7": "loans", "8": "secret"}, ["risk"])
    rows.close()
    told = {(one.principal, one.name): one.before for one in found}
    assert {told["admin", name] for name in ("loans", "secret", "risk")} == {"MANAGE"}
    assert told["mia", "loans"] == "EDIT"
    assert told["mia", "secret"] == "NO_PERMISSIONS"
    assert told["mia", "risk"] == "READ"
    assert told["noa", "risk"] == "MANAGE"
    assert told["noa", "loans"] == noa_on_experiments


def test_without_authentication_everybody_could_do_everything() -> None:
    (one,) = rights_before(None, {"1": "loans"}, [])
    assert (one.principal, one.before) == ("everybody", "MANAGE")


def test_what_is_refused_is_noted_and_what_is_hopeless_is_raised() -> None:
    ledger = Ledger()

    def refuse(error: VallumError) -> None:
        raise error

    ledger.attempt("tag", "a", refuse, InputError("too long", hint="cut it"))
    (noted,) = ledger.report("x").refused
    assert (noted.what, noted.reason) == ("tag", "too long; cut it")
    from vallum.base import UnauthenticatedError

    with pytest.raises(UnauthenticatedError):
        ledger.attempt("tag", "a", refuse, UnauthenticatedError("no key"))


def test_sql_sources_need_their_folder_for_files(tmp_path: Path) -> None:
    small_store(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        SqlSource("sqlite", open_sqlite(str(tmp_path / "mlflow.db")), tmp_path / "nothing")
    with pytest.raises(InputError, match="hands out its files itself"):
        open_source("http://127.0.0.1:5000", artifacts=tmp_path)
