"""The noun `signature`: model folders and files signed and verified without a workspace."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vallum.base import InputError, Secret, SystemClock
from vallum.cli.border import check_output, read_file, read_private, say, show, write_out
from vallum.cli.options import DryRun
from vallum.cli.progress import progress

if TYPE_CHECKING:
    from vallum.crypto import Signer

signature = typer.Typer(
    name="signature", help="Model folders and files: sign and verify, without a workspace.",
    no_args_is_help=True,
)  # fmt: skip

Folder = Annotated[
    Path, typer.Argument(help="The model: a folder, in which every file counts, or one file.")
]
_PIN = "VALLUM_TOKEN_PIN"
_PASSWORD = "VALLUM_KEY_PASSWORD"  # noqa: S105 - the name of a variable
_MAX_SECRET = 256
_MAX_TOKEN = 65_536


@signature.command()
def sign(
    folder: Folder,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where the signature goes; - for stdout.")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Private key in PEM: P-256 or Ed25519; its password in VALLUM_KEY_PASSWORD."
        ),
    ] = None,
    pkcs11: Annotated[
        str, typer.Option(help="Key in a PKCS#11 token: pkcs11:token=NAME;object=LABEL.")
    ] = "",
    pkcs11_module: Annotated[
        Path | None, typer.Option(help="The token's library, such as libsofthsm2.so.")
    ] = None,
    pin_file: Annotated[
        Path | None, typer.Option(help="File with the token's PIN; else VALLUM_TOKEN_PIN.")
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option(help="Certificates in PEM, the signer's first, to put into the signature."),
    ] = None,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Sign through Sigstore as whom a token names.")
    ] = False,
    identity_token_file: Annotated[
        Path | None,
        typer.Option(help="0600 file with an OpenID token; else what the workflow offers."),
    ] = None,
    trust_config: Annotated[
        Path | None,
        typer.Option(help="Sigstore's client trust configuration; the public services if none."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Sign every file of a model.

    Example: vallum signature sign model --key release.pem -o model.sig
    """
    from vallum.crypto.certificates import read_certificates, sign_with_certificate
    from vallum.crypto.folder import model_digests
    from vallum.crypto.model_signing import sign_manifest

    check_output(output)
    if keyless:
        if key is not None or pkcs11 or pkcs11_module is not None or certificates is not None:
            raise InputError("--keyless takes no key and no certificates", code="cli.usage")
        _sign_keyless(folder, output, identity_token_file, trust_config, dry_run=dry_run)
        return
    if identity_token_file is not None or trust_config is not None:
        raise InputError(
            "--identity-token-file and --trust-config belong to --keyless", code="cli.usage"
        )
    signer = _signer(key, pkcs11, pkcs11_module, pin_file)
    chain = () if certificates is None else read_certificates(read_file(certificates))
    with progress("hashing"):
        files = model_digests(folder, without=output)
    name = folder.resolve().name
    if chain:
        bundle = sign_with_certificate(name, files, signer, chain)
    else:
        bundle = sign_manifest(name, files, signer)
    if not dry_run and not _written(bundle, folder, output):
        return
    show(
        "signature",
        {"files": len(files), "key": signer.verify_key.id},
        f"{len(files)} files of `{folder}` signed by the key {signer.verify_key.id[:16]}",
    )


def _sign_keyless(
    folder: Path, output: Path | None, token_file: Path | None, config: Path | None, *,
    dry_run: bool,
) -> None:  # fmt: skip
    from vallum.crypto.folder import model_digests
    from vallum.crypto.keyless import sign_keyless

    token = None if token_file is None else Secret(read_private(token_file)[:_MAX_TOKEN].strip())
    with progress("hashing"):
        files = model_digests(folder, without=output)
    if dry_run:  # a signature stands in public logs for ever: none is made to look at it
        show("signature", {"files": len(files)}, f"{len(files)} files of `{folder}` to sign")
        return
    with progress("asking Sigstore"):
        made = sign_keyless(folder.resolve().name, files, token=token, trust_config=config)
    if _written(made.bundle, folder, output):
        show(
            "signature",
            {"files": len(files), "identity": made.identity, "issuer": made.issuer},
            f"{len(files)} files of `{folder}` signed by {made.identity} (by {made.issuer})",
        )


def _written(bundle: bytes, folder: Path, output: Path | None) -> bool:
    """Write a signature where it belongs; False where it went to stdout."""
    target = output or folder.parent / f"{folder.resolve().name}.sig"
    write_out(bundle, target)
    if str(target) == "-":
        return False
    say(f"the signature is in `{target}`")
    return True


@signature.command()
def verify(
    folder: Folder,
    signed: Annotated[
        Path | None,
        typer.Option("--signature", help="The signature; FOLDER.sig beside it if not given."),
    ] = None,
    public_key: Annotated[Path | None, typer.Option(help="The signer's public key in PEM.")] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Root certificates in PEM; asks for --identity.")
    ] = None,
    trusted_root: Annotated[
        Path | None,
        typer.Option(
            help="Sigstore's trusted_root.json, or a trust configuration; asks for --identity."
        ),
    ] = None,
    identity: Annotated[
        str, typer.Option(help="Who must have signed: e-mail address, URI, DNS name or subject.")
    ] = "",
    issuer: Annotated[
        str, typer.Option(help="The OpenID provider that must have said so (keyless).")
    ] = "",
) -> None:
    """Verify that a signer signed exactly what a model is; exit 5 if not.

    Example: vallum signature verify model --public-key release.pub
    """
    from vallum.crypto.certificates import read_certificates, verify_certified
    from vallum.crypto.folder import model_digests
    from vallum.crypto.keyless import verify_keyless
    from vallum.crypto.model_signing import verify_manifest
    from vallum.crypto.signing import VerifyKey

    if sum(one is not None for one in (public_key, roots, trusted_root)) != 1:
        raise InputError(
            "one of --public-key, --roots and --trusted-root says whom to trust", code="cli.usage",
            hint="the signer's identity is mandatory",
        )  # fmt: skip
    if bool(identity) != (public_key is None) or bool(issuer) != (trusted_root is not None):
        raise InputError(
            "--identity belongs to --roots and --trusted-root, --issuer to --trusted-root",
            code="cli.usage",
        )
    where = signed or folder.parent / f"{folder.resolve().name}.sig"
    bundle = read_file(where)
    with progress("hashing"):
        files = model_digests(folder, without=where)
    if public_key is not None:
        key = VerifyKey.from_pem(read_file(public_key))
        who = verify_manifest(bundle, files, {f"key {key.id[:16]}": key})
    elif roots is not None:
        who = verify_certified(
            bundle, files, roots=read_certificates(read_file(roots)), identity=identity,
            at=SystemClock().now(),
        )  # fmt: skip
    else:
        who = verify_keyless(
            bundle, files, trusted_root=trusted_root or Path(), identity=identity, issuer=issuer
        )
    show("signature", {"files": len(files), "signer": who},
         f"{len(files)} files, exactly those that {who} signed")  # fmt: skip


def _signer(key: Path | None, pkcs11: str, module: Path | None, pin: Path | None) -> "Signer":
    from vallum.crypto import SigningKey
    from vallum.crypto.token import TokenKey

    if (key is None) == (not pkcs11) or bool(pkcs11) != (module is not None):
        raise InputError(
            "a key is needed: --key, --pkcs11 with --pkcs11-module, or --keyless", code="cli.usage"
        )
    if module is None or key is not None:
        password = os.environ.get(_PASSWORD, "")
        secret = Secret(password.encode()) if password else None
        return SigningKey.from_pem(read_private(key or Path()), password=secret)
    held = read_private(pin)[:_MAX_SECRET] if pin is not None else os.environ.get(_PIN, "").encode()
    held = held.strip()
    if not held:
        raise InputError(
            "the token's PIN is missing", code="cli.usage", hint=f"--pin-file, or set {_PIN}"
        )
    return TokenKey(module, pkcs11, Secret(held))
