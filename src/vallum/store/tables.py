"""Every table, as SQLAlchemy Core sees it. `migrations` makes them; a test compares the two.

All content is bytes or ASCII text, so that both databases compare and sort alike: ids and kinds
carry the collation `C` on PostgreSQL, which is what SQLite's `BINARY` does.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# INVARIANT: order by bytes on both databases; paging by id and set roots rely on it.
ASCII = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

records = sa.Table(
    "records",
    metadata,
    sa.Column("kind", ASCII, primary_key=True),
    sa.Column("id", ASCII, primary_key=True),
    sa.Column("parent_id", ASCII, nullable=False),
    sa.Column("name_key", ASCII, nullable=True),  # NULL: the record has no name
    sa.Column("content", sa.LargeBinary, nullable=False),  # canonical JSON
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("kind", "parent_id", "name_key", name="records_name"),
    sa.Index("records_parent", "kind", "parent_id", "id"),
    sa.Index("records_generation", "kind", "generation"),
)

set_roots = sa.Table(
    "set_roots",
    metadata,
    sa.Column("kind", ASCII, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("accumulator", sa.LargeBinary, nullable=False),  # blinded by `nonce`
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
)

log_entries = sa.Table(
    "log_entries",
    metadata,
    sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", ASCII, nullable=False, unique=True),
    sa.Column("leaf", sa.LargeBinary, nullable=False),
    sa.Column("details", sa.LargeBinary, nullable=True),  # NULL: none, or erased
)

log_head = sa.Table(
    "log_head",
    metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("frontier", sa.LargeBinary, nullable=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("id = 1", name="log_head_one_row"),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", ASCII, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)
