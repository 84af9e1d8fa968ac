"""`vallum environment …`: container images as environments."""

import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from vallum.base import InputError, write_atomic
from vallum.cli.assets import size_of
from vallum.cli.bom import difference_text
from vallum.cli.border import SESSION, check_content, content_out, read_private, show, table
from vallum.cli.options import DryRun, Name, Output, Version, version_text
from vallum.cli.progress import progress
from vallum.govern import bom_difference
from vallum.schema import api
from vallum.schema.environments import BomForm

environment = typer.Typer(name="environment", help="Container images: sign, add, show, delete.",
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
    signing = SigningKey.from_pem(read_private(key))
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


@environment.command("add")
def environment_add(
    name: Annotated[str, typer.Argument(help="Name of the environment.")],
    layout: Annotated[
        Path | None, typer.Argument(help="OCI layout: a folder, or a tar of one.")
    ] = None,
    digest: Annotated[str, typer.Option(help="The image that is meant, sha256:….")] = "",
    image: Annotated[
        str, typer.Option(help="Take it from a registry: docker://HOST/NAME@sha256:….")
    ] = "",
    auth_file: Annotated[
        Path | None, typer.Option(help="0600 file of credentials, as skopeo login writes it.")
    ] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="The registry has no TLS, as on loopback.")
    ] = False,
    description: Annotated[str, typer.Option(help="For people.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Judge an image and keep it. Example: vallum environment add py image --digest D."""
    from vallum.cli.registry import fetch_image

    if (layout is None) == (not image) or bool(image and digest):
        raise InputError(
            "name a layout and its digest, or an image of a registry", code="cli.usage",
            hint="vallum environment add NAME LAYOUT --digest D, or NAME --image REF",
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as held:
        source = Path(held) if layout is None else layout
        if image:
            with progress("fetching"):
                digest = fetch_image(image, source, auth_file=auth_file, plain_http=plain_http)
        with (
            progress("adding", total=size_of(source), unit="bytes") as advance,
            SESSION.client(advance) as client,
        ):
            shown = client.environments.add(
                name, source, digest=digest, description=description, dry_run=dry_run
            )
    show("environment.add", shown, version_text(shown))


@environment.command("list")
def environment_list() -> None:
    """List what you may read. Example: vallum environment list."""
    with SESSION.client() as client:
        found = client.environments.list()
    rows = [(one.name, one.created_at[:19], one.description) for one in found]
    show("environment.list", api.Listing(assets=tuple(found)),
         table(("name", "created", "description"), rows))  # fmt: skip


@environment.command("show")
def environment_show(name: Name, version: Version = None) -> None:
    """Show a version and the verdict about it. Example: vallum environment show py."""
    with SESSION.client() as client:
        shown = client.environments.show(name, version)
    show("environment.show", shown, version_text(shown))


@environment.command("download")
def environment_download(name: Name, version: Version = None, output: Output = None) -> None:
    """Download as a tar of an OCI layout. Example: vallum environment download py -o py.tar."""
    check_content(output)
    with SESSION.client() as client:
        content_out("environment.download", client.environments.stream(name, version), output)


@environment.command("bom")
def environment_bom(
    name: Name,
    version: Version = None,
    platform: Annotated[
        str, typer.Option(help="Of an image for several, such as linux/arm64.")
    ] = "",
    form: Annotated[
        BomForm, typer.Option("--format", help="Of the document: JSON or XML.")
    ] = "json",
    diff: Annotated[
        str, typer.Option(help="Tell how NAME:VERSION differs instead; NAME comes first.")
    ] = "",
    output: Output = None,
) -> None:
    """Write the packages of an image, CycloneDX. Example: vallum environment bom py -o py.json."""
    if diff:
        if output is not None or form != "json":
            raise InputError("--diff prints what differs and writes no file", code="cli.usage")
        with SESSION.client() as client:
            boms = client.environments.bom
            found = bom_difference(
                boms(name, version, platform=platform), boms(diff, platform=platform)
            )
        show("environment.bom-diff", msgspec.to_builtins(found), difference_text(found))
        return
    check_content(output)
    with SESSION.client() as client:
        written = client.environments.bom(name, version, platform=platform, form=form)
        content_out("environment.bom", [written], output)


@environment.command("delete")
def environment_delete(name: Name, version: Version = None, dry_run: DryRun = False) -> None:
    """Delete by destroying keys. Example: vallum environment delete py --version 1."""
    with SESSION.client() as client:
        done = client.environments.delete(name, version, dry_run=dry_run)
    show("environment.delete", done, done.text)
