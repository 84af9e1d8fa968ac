"""Who may do what, the log, and the workspace itself, as attributes of a client."""

from collections.abc import Iterator, Mapping, Sequence

from vallum.schema import DenyAssignment, Principal, Role, RoleAssignment, api, rules
from vallum.sdk.nouns import Noun, by_name


class Roles(Noun):
    """Role definitions, assignments and denies."""

    def list(self) -> list[Role]:
        """Return every role definition, the built-in ones too."""
        return by_name(one for page in self._pages("role.list") for one in page.roles)

    def assignments(self) -> tuple[RoleAssignment, ...]:
        """Return every role assignment."""
        return tuple(one for page in self._pages("role.list") for one in page.assignments)

    def denies(self) -> tuple[DenyAssignment, ...]:
        """Return every deny assignment."""
        return tuple(one for page in self._pages("role.list") for one in page.denies)

    def show(self, name: str) -> Role:
        """Return one role definition."""
        return self._transport.call("role.show", api.Named(name=name), api.Listing).roles[0]

    def create(
        self,
        name: str,
        *,
        description: str = "",
        actions: Sequence[str] = (),
        not_actions: Sequence[str] = (),
        data_actions: Sequence[str] = (),
        not_data_actions: Sequence[str] = (),
        dry_run: bool = False,
    ) -> api.Done:
        """Create or replace a custom role."""
        arguments = api.RoleCreate(
            name=name,
            description=description,
            actions=tuple(actions),
            not_actions=tuple(not_actions),
            data_actions=tuple(data_actions),
            not_data_actions=tuple(not_data_actions),
        )
        return self._transport.call("role.create", arguments, api.Done, dry_run=dry_run)

    def import_azure(
        self, document: str, *, scopes: Mapping[str, str] | None = None, dry_run: bool = False
    ) -> api.RoleImported:
        """Import an Azure role file; `differences` lists what does not carry over."""
        arguments = api.RoleImport(document=document, scopes=dict(scopes or {}), dry_run=dry_run)
        return self._transport.call("role.import", arguments, api.RoleImported, dry_run=dry_run)

    def assign(
        self,
        role: str,
        principal: str,
        *,
        scope: str = "",
        condition: str = "",
        expires_at: str = "",
        dry_run: bool = False,
    ) -> api.Done:
        """Give a role to a principal or group at a scope."""
        arguments = api.RoleAssign(
            role=role,
            principal=principal,
            scope=scope,
            condition=condition,
            expires_at=expires_at,
        )
        return self._transport.call("role.assign", arguments, api.Done, dry_run=dry_run)

    def unassign(self, assignment: str, *, dry_run: bool = False) -> api.Done:
        """Remove an assignment or a deny by id."""
        return self._transport.call(
            "role.unassign", api.Named(name=assignment), api.Done, dry_run=dry_run
        )

    def deny(
        self,
        name: str,
        principals: Sequence[str],
        *,
        actions: Sequence[str] = (),
        data_actions: Sequence[str] = (),
        exclude_principals: Sequence[str] = (),
        scope: str = "",
        do_not_apply_to_children: bool = False,
        condition: str = "",
        dry_run: bool = False,
    ) -> api.Done:
        """Refuse actions to principals whatever their roles say; `*` is everyone."""
        arguments = api.RoleDeny(
            name=name,
            principals=tuple(principals),
            actions=tuple(actions),
            data_actions=tuple(data_actions),
            exclude_principals=tuple(exclude_principals),
            scope=scope,
            do_not_apply_to_children=do_not_apply_to_children,
            condition=condition,
        )
        return self._transport.call("role.deny", arguments, api.Done, dry_run=dry_run)

    def explain(self, principal: str, action: str, resource: str = "") -> api.Explanation:
        """Return why a principal may or may not do something, and who could grant it."""
        arguments = api.RoleExplain(principal=principal, action=action, resource=resource)
        return self._transport.call("role.explain", arguments, api.Explanation)

    def whatif(self, *, assign: api.RoleAssign | None = None, remove: str = "") -> api.Differences:
        """Return what an assignment, or its removal, would change."""
        arguments = api.RoleWhatIf(assign=assign, remove=remove)
        return self._transport.call("role.whatif", arguments, api.Differences)


class Groups(Noun):
    """Groups, which may nest."""

    def list(self) -> list[Principal]:
        """Return every group."""
        return by_name(one for page in self._pages("group.list") for one in page.principals)

    def create(self, name: str, *, dry_run: bool = False) -> api.Done:
        """Create a group."""
        return self._transport.call(
            "group.create", api.IdentityCreate(name=name, kind="group"), api.Done, dry_run=dry_run
        )

    def add(self, group: str, member: str, *, dry_run: bool = False) -> api.Done:
        """Add a member."""
        arguments = api.GroupChange(group=group, member=member)
        return self._transport.call("group.add", arguments, api.Done, dry_run=dry_run)

    def remove(self, group: str, member: str, *, dry_run: bool = False) -> api.Done:
        """Remove a member."""
        arguments = api.GroupChange(group=group, member=member)
        return self._transport.call("group.remove", arguments, api.Done, dry_run=dry_run)


class Identities(Noun):
    """Users and service principals."""

    def list(self) -> list[Principal]:
        """Return every user, service principal and managed identity."""
        return by_name(one for page in self._pages("identity.list") for one in page.principals)

    def create(self, name: str, *, kind: str = "user", dry_run: bool = False) -> api.Done:
        """Create a `user` or `service-principal`."""
        arguments = api.IdentityCreate(name=name, kind=kind)
        return self._transport.call("identity.create", arguments, api.Done, dry_run=dry_run)

    def disable(self, name: str, *, dry_run: bool = False) -> api.Done:
        """Disable a principal and all its credentials at once."""
        return self._transport.call(
            "identity.disable", api.Named(name=name), api.Done, dry_run=dry_run
        )

    def federate(
        self,
        name: str,
        *,
        subject: str,
        issuer: str = "",
        audience: str = "",
        public_keys: str = "",
        authority: str = "",
        expires_at: str = "",
        actions: Sequence[str] = (),
        scope: str = "",
        dry_run: bool = False,
    ) -> api.Done:
        """Let tokens of another issuer act as a principal, until `keys.revoke`.

        With `authority`, a certificate as PEM, it is the certificates that it signed for `subject`.
        """
        arguments = rules.Federate(
            name=name, issuer=issuer, subject=subject, audience=audience, public_keys=public_keys,
            authority=authority, expires_at=expires_at, actions=tuple(actions), scope=scope,
        )  # fmt: skip
        return self._transport.call("identity.federate", arguments, api.Done, dry_run=dry_run)

    def session(self, *, minutes: int = 15, dry_run: bool = False) -> api.Shown:
        """Open an interactive session: approvals need one."""
        arguments = rules.SessionCreate(minutes=minutes)
        return self._transport.call("session.create", arguments, api.Shown, dry_run=dry_run)


class Keys(Noun):
    """API keys."""

    def list(self) -> list[api.KeyShown]:
        """Return your keys, and everyone's with the right to."""
        return by_name(one for page in self._pages("key.list") for one in page.keys)

    def create(
        self,
        name: str,
        *,
        principal: str = "",
        expires_at: str = "",
        actions: Sequence[str] = (),
        scope: str = "",
        dry_run: bool = False,
    ) -> api.Shown:
        """Issue a key; its secret is in the reply and nowhere else."""
        arguments = api.KeyCreate(
            name=name,
            principal=principal,
            expires_at=expires_at,
            actions=tuple(actions),
            scope=scope,
        )
        return self._transport.call("key.create", arguments, api.Shown, dry_run=dry_run)

    def rotate(self, key: str, *, dry_run: bool = False) -> api.Shown:
        """Replace a key's secret; the old one is refused from now on."""
        return self._transport.call("key.rotate", api.Named(name=key), api.Shown, dry_run=dry_run)

    def revoke(self, key: str, *, dry_run: bool = False) -> api.Done:
        """Revoke a key; it is refused from now on."""
        return self._transport.call("key.revoke", api.Named(name=key), api.Done, dry_run=dry_run)


class Connections(Noun):
    """Connections, whose secrets are write-only."""

    def list(self) -> list[api.ConnectionShown]:
        """Return every connection, without secrets."""
        return by_name(one for page in self._pages("connection.list") for one in page.connections)

    def create(
        self, name: str, *, kind: str, target: str, secret: str = "", dry_run: bool = False
    ) -> api.Done:
        """Create a `datastore`, `registry` or `webhook` connection."""
        arguments = api.ConnectionCreate(name=name, kind=kind, target=target, secret=secret)
        return self._transport.call("connection.create", arguments, api.Done, dry_run=dry_run)

    def delete(self, name: str, *, dry_run: bool = False) -> api.Done:
        """Delete a connection and its secret."""
        return self._transport.call(
            "connection.delete", api.Named(name=name), api.Done, dry_run=dry_run
        )


class Approvals(Noun):
    """A second person's yes."""

    def list(self) -> tuple[api.ApprovalShown, ...]:
        """Return approvals on record."""
        return self._transport.call("approval.list", api.Page(), api.Approvals).approvals

    def create(
        self,
        model: str,
        *,
        version: int | None = None,
        endpoint: str = "",
        days: int = 7,
        dry_run: bool = False,
    ) -> api.Done:
        """Approve the deployment of a model version that you had no part in."""
        arguments = api.ApprovalCreate(model=model, version=version, endpoint=endpoint, days=days)
        return self._transport.call("approval.create", arguments, api.Done, dry_run=dry_run)


class Audit(Noun):
    """The log."""

    def list(
        self,
        *,
        after: int = -1,
        limit: int = 100,
        kind: str = "",
        step: str = "",
        principal: str = "",
        resource: str = "",
        newest_first: bool = False,
    ) -> tuple[api.LoggedEntry, ...]:
        """Return entries after an index, oldest first; or newest first, before the index."""
        arguments = api.AuditList(
            after=after, limit=limit, kind=kind, step=step, principal=principal, resource=resource,
            newest_first=newest_first,
        )  # fmt: skip
        return self._transport.call("audit.list", arguments, api.Listing).entries

    def show(self, entry: str) -> api.AuditShown:
        """Return an entry with its inclusion proof."""
        return self._transport.call("audit.show", api.Named(name=entry), api.AuditShown)

    def verify(self) -> api.Verification:
        """Have the server verify its whole log."""
        return self._transport.call("audit.verify", api.Page(), api.Verification)

    def export(self) -> Iterator[bytes]:
        """Yield a tar archive that `vallum audit verify` checks offline."""
        return self._transport.download("audit.export", api.Page())


class Workspace(Noun):
    """The workspace itself."""

    def show(self) -> api.WorkspaceShown:
        """Return name, version, log size and the newest checkpoint."""
        return self._transport.call("workspace.show", api.Page(), api.WorkspaceShown)

    def verify(self) -> api.Verification:
        """Have the server verify every row, object and log entry."""
        return self._transport.call("workspace.verify", api.Page(), api.Verification)

    def posture(self) -> api.Posture:
        """Return insecure settings and missing evidence, each with its fix."""
        return self._transport.call("workspace.posture", api.Page(), api.Posture)

    def rotate_keys(self, *, destroy_old: bool = False, dry_run: bool = False) -> api.Done:
        """Wrap every key under a new key-encryption key; no object is touched.

        Args:
            destroy_old: Destroy the old ones: backups made before cannot be read any more.
            dry_run: Check only.
        """
        return self._transport.call(
            "workspace.rotate-keys",
            api.RotateKeys(destroy_old=destroy_old),
            api.Done,
            dry_run=dry_run,
        )

    def backup(self) -> Iterator[bytes]:
        """Yield an encrypted backup; it holds no key."""
        return self._transport.download("workspace.backup", api.Page())
