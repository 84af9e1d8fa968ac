"""Secrets in files of any layer, deleted ones too, and in how an image is built and starts.

Where a distribution keeps its own files only what cannot be anything else counts (a whole private
key, a token by its form); elsewhere names such as `password` count too.
"""

import re
from collections.abc import Iterable

import re2

from vallum.scan.code.secrets import SecretFinder, Text, lines_of, scan_secrets
from vallum.scan.image.documents import Config
from vallum.scan.report import Findings

_ATLAS = "AML.T0055"
_SYSTEM = re.compile(
    r"^(usr/)?(s?bin|lib(32|64|x32)?|share|include|libexec|local/lib|local/share|local/include)/|"
    r"^var/lib/(dpkg|apt|rpm|pam)/|(^|/)(node_modules|site-packages|dist-packages)/"
)
# Files that are secrets by what they are for, with what they hold when they are in use.
_FILES = (
    (re.compile(r"(^|/)(\.docker/config\.json|\.dockercfg)$"), re.compile(rb'"auth"\s*:\s*"\w')),
    (re.compile(r"(^|/)[._]netrc$"), re.compile(rb"\bpassword\s+\S")),
    (re.compile(r"(^|/)\.git-credentials$"), re.compile(rb"://[^\s:]*:\S+@")),
    (re.compile(r"(^|/)\.pgpass$"), re.compile(rb"^[^#\n]*(:[^:\n]*){3}:\S", re.MULTILINE)),
    (re.compile(r"(^|/)\.npmrc$"), re.compile(rb"_auth(Token)?\s*=\s*[^$\s]")),
    (re.compile(r"(^|/)\.aws/credentials$"), re.compile(rb"aws_secret_access_key\s*=\s*\S")),
    (re.compile(r"(^|/)(\.kube/config|kubeconfig)$"), re.compile(rb"(token|key-data):\s*\S")),
    (re.compile(r"\.(kdbx|p12|pfx|jks|keystore)$", re.IGNORECASE), re.compile(rb"(?s).{64}")),
)  # fmt: skip
_KEY = re2.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s+(?:[\w-]+: [^\n]*\n)*\s*"
    r"(?:[A-Za-z0-9+/=]{16,}\s+){2}"
)
_TOKENS = re2.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{22}_\w{59}\b|"
    r"\bglpat-[\w-]{20}\b|\bhf_[A-Za-z0-9]{34}\b|\bnpm_[A-Za-z0-9]{36}\b|\bpypi-AgEIcHlwaS5vcmc\w{50}|"
    r"\bxox[abprs]-\d{10,}-[\w-]{20,}|\bsk_live_[A-Za-z0-9]{24}|\bsk-ant-[\w-]{40}|\bdapi[0-9a-f]{32}\b|"
    r"\bdo[opr]_v1_[0-9a-f]{64}\b|\bAIza[\w-]{35}\b"
)
_STRONG = (("private_key", _KEY), ("token", _TOKENS))
_CHANCE = "secret.high_entropy"
_EXAMPLE = re.compile(r"EXAMPLE|(.)\1{7}")


def search_file(
    path: str, content: bytes, member: str, findings: Findings, finder: SecretFinder | None
) -> None:
    """Report the secrets in a file of a layer."""
    for name, inside in _FILES:
        if name.search(path) and inside.search(content):
            text = "a file of credentials is in a layer"
            findings.add("secret.file", text, member=member, atlas=_ATLAS)
            return
    if b"\0" in content[:8192]:
        return
    text = content.decode("utf-8", "replace")
    if not _strong(text, member, findings) and not _SYSTEM.match(path):
        lines = lines_of(text, member)
        if path.startswith("etc/"):  # examples of a setting are comments there
            lines = [one for one in lines if not one.text.lstrip().startswith(("#", ";"))]
        _keep(lines, findings, finder)


def _strong(text: str, member: str, findings: Findings) -> bool:
    """Report what cannot be anything else; tell whether there was any."""
    kinds = [
        kind
        for kind, pattern in _STRONG
        if (match := pattern.search(text)) is not None and not _EXAMPLE.search(match[0])
    ]
    for kind in kinds:
        if any(one.id == f"secret.{kind}" and one.member == member for one in findings.items):
            continue
        message = f"a secret is written here ({kind.replace('_', ' ')})"
        findings.add(f"secret.{kind}", message, member=member, atlas=_ATLAS)
    return bool(kinds)


def search_config(config: Config, annotations: dict[str, str], findings: Findings,
                  finder: SecretFinder | None, prefix: str) -> None:  # fmt: skip
    """Report the secrets in variables, labels, commands and history."""
    run = config.run
    texts: list[Text] = []
    for one in run.env or ():
        name, _, value = one.partition("=")
        texts += _both(name, value, f"{prefix}env[{name[:80]}]")
    for what, given in (("labels", run.labels or {}), ("annotations", annotations)):
        for name, value in given.items():
            texts += _both(name, value, f"{prefix}{what}[{name[:80]}]")
    for what, words in (("entrypoint", run.entrypoint), ("cmd", run.cmd)):
        line = words if isinstance(words, str) else " ".join(words or ())
        texts += _lines(line, f"{prefix}{what}")
    for at, step in enumerate(config.history or ()):
        for line in (step.created_by or "", step.comment or ""):
            texts += _lines(line, f"{prefix}history[{at}]")
    _keep((one for one in texts if not _strong(one.text, one.member, findings)), findings, finder)


def _both(name: str, value: str, member: str) -> list[Text]:
    """Return a value by its name, and by its form."""
    return [Text(value[:4000], member, name=name), *_lines(value, member)]


def _lines(text: str, member: str) -> list[Text]:
    """Return lines without their numbers, which mean nothing in a configuration."""
    return [Text(one.text, member) for one in lines_of(text)]


def _keep(texts: Iterable[Text], findings: Findings, finder: SecretFinder | None) -> None:
    """Search, and let random text be a note: an image is full of digests and names."""
    found = Findings()
    scan_secrets(texts, found, finder)
    for one in found.items:
        severity = "low" if one.id == _CHANCE else one.severity
        findings.add(one.id, one.message, severity=severity, member=one.member, line=one.line,
                     atlas=one.atlas)  # fmt: skip
