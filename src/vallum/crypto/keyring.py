"""The workspace key and everything under it.

    key provider → workspace key → purpose keys (HKDF, one a purpose)
                                 → wrapping key → data key of each version

Data keys are sealed with a secret of their subject's own, and wrapped under the provider's
key-encryption key, each bound to workspace, subject and purpose: rotating re-wraps rows and
touches no object; destroying the secret destroys the data, in every older copy of the row too.
"""

import secrets

from vallum.base import Permit, SealedError, Secret
from vallum.crypto import purposes
from vallum.crypto.provider import KeyProvider, WrappedKey
from vallum.crypto.purposes import Purpose
from vallum.crypto.small import KEY_BYTES, derive, seal, unseal


class DataKey:
    """The key of one version's objects; only `stream` reads it."""

    __slots__ = ("_key",)

    def __init__(self, key: Secret) -> None:
        self._key = key

    def reveal(self) -> bytes:
        """Return the key bytes."""
        return self._key.reveal()

    def __repr__(self) -> str:
        return "<data key>"


class Keyring:
    """Holds the workspace key in memory between `open` and `close`."""

    def __init__(self, provider: KeyProvider, workspace_id: str, key: Secret) -> None:
        self._provider = provider
        self._workspace_id = workspace_id
        self._key: Secret | None = key

    @classmethod
    def create(cls, provider: KeyProvider, workspace_id: str) -> "tuple[Keyring, WrappedKey]":
        """Draw a workspace key; returns the open ring and what to store."""
        key = Secret(secrets.token_bytes(KEY_BYTES))
        wrapped = provider.wrap(key, context=_workspace(workspace_id))
        return cls(provider, workspace_id, key), wrapped

    @classmethod
    def open(cls, provider: KeyProvider, wrapped: WrappedKey, workspace_id: str) -> "Keyring":
        """Open with what `create` or `rotate` gave.

        Raises:
            SealedError: The provider does not open it.
            IntegrityError: It is not this workspace's.
        """
        key = provider.unwrap(wrapped, context=_workspace(workspace_id))
        return cls(provider, workspace_id, key)

    def derive(self, purpose: Purpose, *, info: bytes = b"") -> Secret:
        """Return the 32-byte key of a purpose.

        Raises:
            SealedError: The ring was closed.
        """
        framed = purpose.value.encode() + b"\x00" + info
        return derive(self._open_key(), purposes.DERIVE + framed)

    def new_data_key(self, subject_id: str, purpose: str) -> tuple[DataKey, WrappedKey]:
        """Draw a data key for `subject_id`; returns it and what to store."""
        self._open_key()
        key = Secret(secrets.token_bytes(KEY_BYTES))
        return DataKey(key), self._wrap(key, subject_id, purpose)

    def unwrap(
        self, permit: Permit, wrapped: WrappedKey, subject_id: str, purpose: str, *, on: str = ""
    ) -> DataKey:
        """Return the data key of `subject_id`.

        Args:
            permit: Must name `on`, or `subject_id` where `on` is empty.
            wrapped: From the row.
            subject_id: Version or job that it was made for.
            purpose: As it was made for.
            on: The resource that was decided on.

        Raises:
            SealedError: The ring is closed, that generation was destroyed, or the subject was
                erased.
            IntegrityError: It was made for another subject, purpose or workspace.
        """
        permit.require_valid(on or subject_id)
        self._open_key()
        return DataKey(self._unwrap(wrapped, subject_id, purpose))

    def rewrap(self, wrapped: WrappedKey, subject_id: str, purpose: str) -> WrappedKey:
        """Wrap the same data key under the provider's newest generation."""
        return self._wrap(self._unwrap(wrapped, subject_id, purpose), subject_id, purpose)

    def rewrap_workspace_key(self) -> WrappedKey:
        """Wrap the workspace key under the provider's newest generation."""
        return self._provider.wrap(self._open_key(), context=_workspace(self._workspace_id))

    def close(self) -> None:
        """Forget the workspace key."""
        self._key = None

    def _wrap(self, key: Secret, subject_id: str, purpose: str) -> WrappedKey:
        """Seal with the subject's own secret, which erasing destroys, and then wrap."""
        context = self._context(subject_id, purpose)
        inner = seal(self._provider.shred_secret(subject_id), key.reveal(), context)
        return self._provider.wrap(Secret(inner), context=context)

    def _unwrap(self, wrapped: WrappedKey, subject_id: str, purpose: str) -> Secret:
        context = self._context(subject_id, purpose)
        inner = self._provider.unwrap(wrapped, context=context)
        if len(inner.reveal()) == KEY_BYTES:  # wrapped before there were shred secrets
            return inner
        secret = self._provider.shred_secret(subject_id)
        return Secret(unseal(secret, inner.reveal(), context))

    def _open_key(self) -> Secret:
        if self._key is None:
            raise SealedError("the keyring is closed")
        return self._key

    def _context(self, subject_id: str, purpose: str) -> bytes:
        parts = (self._workspace_id, subject_id, purpose)
        return purposes.DATA_KEY_CONTEXT + b"\x00".join(part.encode() for part in parts)

    def __repr__(self) -> str:
        return f"<keyring of {self._workspace_id}>"


def _workspace(workspace_id: str) -> bytes:
    return purposes.WORKSPACE_CONTEXT + workspace_id.encode()
