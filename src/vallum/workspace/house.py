"""The parts that every step works with, put together once by `bootstrap`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vallum.audit import Anchor, Courier, Log, Publisher, Refusals, Tiles
from vallum.base import Clock, Secret
from vallum.crypto import KeyProvider, Keyring, Purpose, Signer, SigningKey, WrappedKey, derive
from vallum.guard import RateLimiter
from vallum.identity import Authenticator
from vallum.sandbox import BubblewrapRunner
from vallum.store import Database, Objects, Records
from vallum.workspace.engines.port import Engine
from vallum.workspace.erasures import Erasures
from vallum.workspace.leases import Leases
from vallum.workspace.residents import Residents


@dataclass(slots=True)
class House:
    """One open workspace: its stores, keys, log and sandbox.

    Attributes:
        folder: Data folder; nothing secret is in it in the clear.
        workspace_id: Root of every scope chain.
        erasures: What was deleted, beside the keys.
        reseal: Stores the workspace key as the newest key-encryption key wraps it.
        scoring_base: Address of the gateway; empty while none serves.
        free_bytes: Room left for database and log.
        courier: Takes checkpoints elsewhere, where that is asked for.
        local: What scores batches on this machine.
        engine: What scores batches, unless they have a key.
        release_token: The release key in a token, open, where the workspace signs with one.
        ray_replicas: The gateway starts replicas of models on Ray for deployments that ask for it.
    """

    folder: Path
    workspace_id: str
    name: str
    database: Database
    records: Records
    objects: Objects
    log: Log
    publisher: Publisher
    tiles: Tiles
    anchors: tuple[Anchor, ...]
    refusals: Refusals
    keyring: Keyring
    provider: KeyProvider
    authenticator: Authenticator
    open_runner: Callable[[], BubblewrapRunner]
    clock: Clock
    free_bytes: Callable[[], int]
    erasures: Erasures
    reseal: Callable[[WrappedKey], None]
    scoring_base: str = ""
    courier: Courier | None = None
    release_token: Signer | None = None
    ray_replicas: bool = False
    batch_rates: RateLimiter = field(default_factory=RateLimiter)  # under the log's transaction
    _runner: list[BubblewrapRunner] = field(default_factory=list)
    residents: Residents = field(init=False)
    local: Engine = field(init=False)
    engine: Engine = field(init=False)
    metric_leases: Leases = field(init=False)

    def __post_init__(self) -> None:
        """Prepare to keep tables and bundles of metrics open; none is yet."""
        self.residents = Residents(lambda: self.runner, self.clock.monotonic)
        self.metric_leases = Leases()

    @property
    def runner(self) -> BubblewrapRunner:
        """Return the sandbox runner; opened at first use.

        Raises:
            UnavailableError: No sandbox works here: whatever needs one stays closed.
        """
        if not self._runner:
            self._runner.append(self.open_runner())
        return self._runner[0]

    def credential_key(self) -> Secret:
        """Return the key of credential hashes."""
        return self.keyring.derive(Purpose.CREDENTIAL)

    def derived_release_key(self) -> SigningKey:
        """Return the release key of a workspace that was given none in a token."""
        return SigningKey.p256_from_seed(
            derive(self.keyring.derive(Purpose.RELEASE), b"p-256", length=48)
        )

    def noise_key(self, model_digest: str) -> bytes:
        """Return the key of the noise in a model's answers, the same wherever it is served."""
        return self.keyring.derive(Purpose.OUTPUT_NOISE, info=model_digest.encode()).reveal()

    def scoring_uri(self, endpoint: str) -> str:
        """Return where an endpoint is scored; empty while no gateway serves."""
        if not self.scoring_base:
            return ""
        return f"{self.scoring_base}/v2/models/{endpoint}/infer"

    def close(self) -> None:
        """Publish a last checkpoint and close everything."""
        self.residents.close()
        self.refusals.flush()
        self.publisher.checkpoint()
        self.keyring.close()
        self.database.close()
