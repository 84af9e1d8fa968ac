"""The tables of the first release.

Never edited after the release: a later change of a table is a later migration. That is why the
tables are spelled out here again rather than created from `store.tables`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ASCII = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "records",
        sa.Column("kind", _ASCII, primary_key=True),
        sa.Column("id", _ASCII, primary_key=True),
        sa.Column("parent_id", _ASCII, nullable=False),
        sa.Column("name_key", _ASCII, nullable=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("kind", "parent_id", "name_key", name="records_name"),
    )
    op.create_index("records_parent", "records", ["kind", "parent_id", "id"])
    op.create_index("records_generation", "records", ["kind", "generation"])
    op.create_table(
        "set_roots",
        sa.Column("kind", _ASCII, primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("accumulator", sa.LargeBinary, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_entries",
        sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", _ASCII, nullable=False, unique=True),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("details", sa.LargeBinary, nullable=True),
    )
    op.create_table(
        "log_head",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("id = 1", name="log_head_one_row"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
    )
    op.create_table(
        "meta",
        sa.Column("key", _ASCII, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Refuse: a restore from a backup is the way back."""
    raise NotImplementedError("tables only go forward; restore a backup instead")
