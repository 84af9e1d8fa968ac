"""`vallum environment …`: container images as environments."""

from pathlib import Path
from typing import Annotated

import typer

from vallum.base import InputError, write_atomic
from vallum.cli.border import read_file, show
from vallum.cli.options import DryRun

environment = typer.Typer(name="environment", help="Container images as environments: sign.",
                          no_args_is_help=True)  # fmt: skip
_OTHERS = 0o077


@environment.command("sign")
def environment_sign(
    layout: Annotated[Path, typer.Argument(help="Folder with an OCI layout.")],
    digest: Annotated[str, typer.Option(help="The image that is meant, sha256:….")],
    key: Annotated[
        Path, typer.Option(help="PEM private key, Ed25519 or P-256, readable by you alone.")
    ],
    reference: Annotated[str, typer.Option(help="Name that the image is to have, a claim.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Sign an image as cosign does. Example: vallum environment sign image --digest D --key K."""
    from vallum.crypto import SigningKey
    from vallum.scan.image import add_signature, open_layout, payload_of

    if not layout.is_dir():
        raise InputError(
            f"`{layout}` is no folder", code="image.layout",
            hint="skopeo copy oci-archive:IMAGE.tar oci:FOLDER",
        )  # fmt: skip
    pem = read_file(key)
    if key.stat().st_mode & _OTHERS:
        raise InputError(f"others may read `{key}`", code="cli.file", hint=f"chmod 600 {key}")
    signing = SigningKey.from_pem(pem)
    payload = payload_of(digest, reference)
    made = add_signature(open_layout(layout), digest, payload, signing.sign(payload))
    if not dry_run:
        try:
            for name, data in made.blobs.items():
                write_atomic(
                    layout / "blobs" / "sha256" / name.removeprefix("sha256:"), data, mode=0o644
                )
            write_atomic(layout / "index.json", made.index, mode=0o644)  # shows them
        except OSError as error:
            raise InputError(
                f"`{layout}` cannot be written: {error.strerror}", code="cli.output"
            ) from error
    signer = signing.verify_key.id
    show("environment.sign", {"digest": digest, "signer": signer},
         f"{digest} is signed by the key {signer}")  # fmt: skip
