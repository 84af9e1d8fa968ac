"""What speaks against an image: how it starts, what may raise its rights, what it stands on."""

import re
import struct
from collections.abc import Collection, Mapping

from msgspec import structs

from vallum.scan.advisories import Match, Snapshot, affecting, family_of
from vallum.scan.image.documents import BASE_DIGEST, Config
from vallum.scan.image.packages import Inventory, advised_as
from vallum.scan.image.reports import Report
from vallum.scan.image.rules import CAPABILITIES, SETUID, ImageRules, TrustedBase, chain_id
from vallum.scan.image.tree import Node, Tree
from vallum.scan.report import Findings
from vallum.schema import Finding, Package

REGISTRY, SOFTWARE, PACKAGE, ESCAPE = (
    "AML.T0010.004", "AML.T0010.001", "AML.T0011.001", "AML.T0105",
)  # fmt: skip
_NUMBER = re.compile(r"^[+-]?[0-9]{1,20}$")
_MAX_UID = 2**31 - 1  # of runc
_DEVICES = {
    "dev/null": (1, 3), "dev/zero": (1, 5), "dev/full": (1, 7), "dev/random": (1, 8),
    "dev/urandom": (1, 9), "dev/tty": (5, 0), "dev/console": (5, 1), "dev/ptmx": (5, 2),
}  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIBRARIES = re.compile(r"^(usr/)?(local/)?lib(32|64|x32)?(/|$)")
_SETUID, _SETGID, _WORLD = 0o4000, 0o2000, 0o002
_RANKS = ("low", "medium", "high", "critical")
_CAPABILITIES = {
    0: "chown", 1: "dac_override", 2: "dac_read_search", 3: "fowner", 4: "fsetid", 5: "kill",
    6: "setgid", 7: "setuid", 8: "setpcap", 10: "net_bind_service", 12: "net_admin", 13: "net_raw",
    16: "sys_module", 17: "sys_rawio", 18: "sys_chroot", 19: "sys_ptrace", 21: "sys_admin",
    23: "sys_nice", 27: "mknod", 31: "setfcap",
}  # fmt: skip


def judge_user(config: Config, passwd: bytes, findings: Findings, rules: ImageRules,
               prefix: str) -> None:  # fmt: skip
    """Report an image that starts as root, or as nobody that can be told.

    The name is looked up as container runtimes do: a line of /etc/passwd whose name is `1000` wins
    over the number 1000.
    """
    given = config.run.user or ""
    name = given.partition(":")[0]
    uid = _uid(name, passwd)
    if name and uid is None:
        text = f"the image starts as `{name[:40]}`, who is not in its /etc/passwd"
        findings.add("image.user", text, member=f"{prefix}config", atlas=ESCAPE)
    elif not uid and not rules.written.allow_root:
        who = f"as `{name[:40]}`, which is root" if name else "as root: it names no user"
        findings.add("image.root", f"the image starts {who}", member=f"{prefix}config",
                     atlas=ESCAPE)  # fmt: skip


def _uid(name: str, passwd: bytes) -> int | None:
    if not name:
        return 0
    for line in passwd.decode("utf-8", "replace").splitlines():
        fields = line.strip().split(":")
        if len(fields) > 2 and fields[0] == name:  # noqa: PLR2004 - name, password, uid
            return int(fields[2]) if _NUMBER.match(fields[2]) else 0  # unreadable: taken for root
    if not _NUMBER.match(name):
        return None
    return int(name) if 0 <= int(name) <= _MAX_UID else None


def judge_files(tree: Tree, config: Config, findings: Findings, rules: ImageRules,
                prefix: str) -> None:  # fmt: skip
    """Report what could raise the rights of who runs in the image."""
    folders = _search_path(config)
    for node in tree.nodes():
        entry = node.entry
        place = f"{prefix}layers[{node.layer}]/{shown(node.path)}"
        if entry.kind in ("character", "block"):
            if entry.kind == "block" or _DEVICES.get(node.path) != entry.device:
                text = f"a device ({entry.kind}, {entry.device[0]}:{entry.device[1]})"
                findings.add("image.device", text, member=place, atlas=ESCAPE)
            continue
        if entry.kind == "file":
            _judge_rights(node, place, findings, rules)
        if entry.mode & _WORLD and _matters(node, folders):
            text = "anybody may change what others run"
            findings.add("image.world-writable", text, member=place, atlas=ESCAPE)


def _judge_rights(node: Node, place: str, findings: Findings, rules: ImageRules) -> None:
    path, mode = node.path, node.entry.mode
    plain = path.removeprefix("usr/")
    allowed = path in rules.written.allow_setuid or f"/{path}" in rules.written.allow_setuid
    special = [word for bit, word in ((_SETUID, "setuid"), (_SETGID, "setgid")) if mode & bit]
    if special and mode & 0o111 and not (allowed or plain in SETUID):
        owner = node.entry.uid if mode & _SETUID else node.entry.gid
        text = f"a program that runs with the rights of {owner} ({' and '.join(special)})"
        findings.add("image.setuid", text, member=place, atlas=ESCAPE)
    value = node.entry.attributes.get("security.capability")
    if value is not None and not (allowed or plain in CAPABILITIES):
        text = f"a program with capabilities ({_capabilities(value)})"
        findings.add("image.capability", text, member=place, atlas=ESCAPE)


def _capabilities(value: bytes) -> str:
    """Name what a `security.capability` attribute permits; source: capabilities(7)."""
    try:
        words = struct.unpack_from("<5I" if len(value) >= 20 else "<3I", value)  # noqa: PLR2004 - revision 2
    except struct.error:
        return "of an unknown form"
    bits = words[1] | (words[3] << 32 if len(words) > 3 else 0)  # noqa: PLR2004 - revision 2
    names = [_CAPABILITIES.get(at, str(at)) for at in range(64) if bits >> at & 1]
    return ", ".join(names) or "none"


def _search_path(config: Config) -> frozenset[str]:
    given = dict(one.partition("=")[::2] for one in config.run.env or ())
    return frozenset(one.strip("/") for one in str(given.get("PATH") or _PATH).split(":") if one)


def _matters(node: Node, folders: frozenset[str]) -> bool:
    if node.entry.kind == "folder":
        return node.path in folders or bool(_LIBRARIES.match(node.path))
    if node.entry.kind != "file":
        return False
    return node.path.rpartition("/")[0] in folders or (
        ".so" in node.path and bool(_LIBRARIES.match(node.path))
    )


def judge_base(
    diff_ids: tuple[str, ...], annotations: Mapping[str, str], findings: Findings,
    rules: ImageRules, prefix: str,
) -> str:  # fmt: skip
    """Report an image that stands on no trusted base, or claims one that it does not stand on.

    Returns:
        The name of the base; empty where there is none.
    """
    trusted = rules.written.trusted_bases
    claimed = annotations.get(BASE_DIGEST, "")
    place = f"{prefix}manifest"
    if not trusted:
        text = "no base image is trusted" if rules.given else (
            "no list of trusted bases was given, so the base was not checked"
        )  # fmt: skip
        findings.add("image.base", text, severity=rules.missing("base"), member=place,
                     atlas=REGISTRY)  # fmt: skip
        return ""
    found = _standing_on(diff_ids, trusted)
    if found is None:
        severity = "high"
        text = "its lowest layers are those of no trusted base"
        if any(claimed in one.digests for one in trusted):
            severity, text = "critical", f"{text}, though it claims one ({claimed})"
        findings.add("image.base", text, severity=severity, member=place, atlas=REGISTRY)
        return ""
    if claimed and found.digests and claimed not in found.digests:
        text = f"it claims to be made from `{claimed[:80]}`; its layers are those of {found.name}"
        findings.add("image.base-claim", text, severity="medium", member=place, atlas=REGISTRY)
    return found.name


def _standing_on(diff_ids: tuple[str, ...], trusted: tuple[TrustedBase, ...]) -> TrustedBase | None:
    """Return the trusted base with the most layers that these begin with."""
    by_chain = {one.chain: one for one in trusted}
    for count in range(len(diff_ids), 0, -1):
        chain = chain_id(diff_ids[:count])
        if chain in by_chain:
            return by_chain[chain]
    return None


def judge_packages(inventory: Inventory, findings: Findings, rules: ImageRules,
                   prefix: str) -> None:  # fmt: skip
    """Report packages that advisories speak of, and what could not be matched."""
    for path, reason in inventory.unread:
        text = f"installed packages could not be read: {reason}"
        findings.add("image.packages-unread", text, severity="high",
                     member=f"{prefix}{shown(path)}", atlas=SOFTWARE)  # fmt: skip
    if inventory.missing:
        text = f"the distribution is {inventory.distribution[:40]}, but its packages are not listed"
        findings.add("image.packages-missing", text, severity="high", member=prefix, atlas=SOFTWARE)
    system = [one for one in inventory.packages if one.kind in ("deb", "apk", "rpm")]
    if system and not inventory.ecosystem:
        what = inventory.distribution[:40] or "not named"
        text = f"{len(system)} packages were not matched: no advisories for a distribution {what}"
        findings.add("image.packages-unmatched", text, severity=rules.missing("advisories"),
                     member=prefix, atlas=SOFTWARE)  # fmt: skip
    snapshots: dict[str, Snapshot | None] = {}
    for one in inventory.packages:
        if not one.ecosystem:
            continue
        family = family_of(one.ecosystem)
        if family not in snapshots:
            snapshots[family] = rules.advisories(family)
            if snapshots[family] is None:
                text = f"no advisories of {family} were imported, so its packages were not matched"
                findings.add("image.no-advisories", text, severity=rules.missing("advisories"),
                             member=prefix, atlas=SOFTWARE)  # fmt: skip
        snapshot = snapshots[family]
        if snapshot is not None:
            matches = {
                match.ids: match
                for name, version in advised_as(one)
                for match in affecting(snapshot, name, version, ecosystem=one.ecosystem)
            }
            for match in matches.values():
                _advise(one, match, findings, rules, prefix)


def _advise(one: Package, match: Match, findings: Findings, rules: ImageRules,
            prefix: str) -> None:  # fmt: skip
    ids = match.ids[0] + (f" ({', '.join(match.ids[1:4])})" if match.ids[1:] else "")
    end = f"; fixed in {', '.join(match.fixed[:4])}" if match.fixed else "; no fix is known"
    about = f": {match.summary}" if match.summary else ""
    below = _RANKS.index(match.severity) < _RANKS.index(rules.written.severity)
    unfixed = rules.written.ignore_unfixed and not match.fixed
    message = (
        f"`{shown(one.name[:80])}` {shown(one.version[:60])} is affected by {ids} "
        f"({match.severity}){about}{end}"
    )
    found = Finding(
        id="package.advisory",
        severity="info" if below or unfixed else match.severity,
        message=message,
        member=f"{prefix}{one.kind}/{shown(one.name[:80])}",
        atlas=PACKAGE if match.ids[0].startswith("MAL-") else SOFTWARE,
    )
    keep(waived(found, match.ids, rules), findings)


def judge_report(
    report: Report, named: Collection[str], findings: Findings, rules: ImageRules
) -> None:
    """Add what another scanner found, if it looked at this image.

    Args:
        report: Of the scanner.
        named: Digests of this image and its configurations.
        findings: Added to.
        rules: Its severities count as those of advisories do.
    """
    if not report.subjects & set(named):
        text = f"the report of {report.tool} is about another image"
        findings.add("image.report-other", text, atlas=SOFTWARE)
        return
    for one in report.found:
        below = _RANKS.index(one.severity) < _RANKS.index(rules.written.severity)
        unfixed = rules.written.ignore_unfixed and not one.fixed
        text = f"{report.tool} reports {one.id} ({one.severity}): {one.message}"
        found = Finding(
            id="image.reported", severity="info" if below or unfixed else one.severity,
            message=shown(text), member=shown(one.place), atlas=SOFTWARE,
        )  # fmt: skip
        keep(waived(found, (one.id,), rules), findings)


def keep(found: Finding, findings: Findings) -> None:
    """Add a finding that is made already."""
    findings.add(found.id, found.message, severity=found.severity, member=found.member,
                 offset=found.offset, line=found.line, atlas=found.atlas)  # fmt: skip


def waived(one: Finding, names: tuple[str, ...], rules: ImageRules) -> Finding:
    """Return a finding; as a note where a waiver for its id, or for one of `names`, covers it.

    A waiver that has ended covers nothing, and is told.
    """
    waiver = rules.waiver(one.id, names, _place(one))
    if waiver is None or one.severity == "info":
        return one
    if waiver.until < rules.today:
        message = f"{one.message}; the waiver ended on {waiver.until}"
        return structs.replace(one, message=message)
    message = f"{one.message}; waived until {waiver.until}: {shown(waiver.reason[:200])}"
    return structs.replace(one, message=message, severity="info")


def waive(found: Findings, rules: ImageRules) -> Findings:
    """Return findings with those that a waiver covers turned into notes."""
    kept = Findings(limit=found.limit, code_capable=found.code_capable)
    named = ("package.advisory", "image.reported")  # judged with the names of their advisories
    kept.items = [one if one.id in named else waived(one, (), rules) for one in found.items]
    return kept


def _place(one: Finding) -> str:
    """Return a place without its layer: a waiver outlives a rebuild."""
    return re.sub(r"^(.*: )?(layers\[\d+\]/)?", "", one.member)


def shown(text: str) -> str:
    """Escape what a terminal would act on: the image's author chose these names."""
    return text if text.isprintable() else text.encode("unicode_escape", "replace").decode()
