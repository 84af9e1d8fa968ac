"""Finding personal data: precision, recall and F1 by type, and speed, beside Presidio.

    python benchmarks/privacy_discover.py [--data DIR] [--presidio PYTHON]

DIR has Presidio's 2,109 labelled sentences (`presidio_generated_large.json`). The legal, technical
and obfuscated texts are made here from templates that know nothing of the patterns. PYTHON is the
interpreter of an environment with presidio-analyzer (patterns only: no language model). A
prediction counts as right if it overlaps a label of its type; every prediction of a labelled type
counts, and so do those in texts without labels. Names and places are counted by themselves:
Presidio's patterns have none, and its language models cannot be had here. Beside the strict figure,
which counts a city within a labelled street address or company as wrong, stands one without those.
The cues for names were written with these sentences in view: the figures are not held out.
"""

import argparse
import base64
import json
import random  # noqa: TID251 - fixed seeds, nothing secret
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

TYPES = {
    "CREDIT_CARD": "financial.card", "PHONE_NUMBER": "personal.phone",
    "EMAIL_ADDRESS": "personal.email", "US_SSN": "government.us.ssn",
    "IBAN_CODE": "financial.iban", "DOMAIN_NAME": "network.url", "URL": "network.url",
    "IP_ADDRESS": "network.ip",
}  # fmt: skip
PEER = """
import json, sys, time
from presidio_analyzer import RecognizerRegistry
from presidio_analyzer.predefined_recognizers import (CreditCardRecognizer, EmailRecognizer,
    IbanRecognizer, IpRecognizer, PhoneRecognizer, UrlRecognizer, UsSsnRecognizer)
made = [CreditCardRecognizer(), EmailRecognizer(), IbanRecognizer(), IpRecognizer(),
        PhoneRecognizer(), UrlRecognizer(), UsSsnRecognizer()]
corpora = json.load(sys.stdin)
out = {}
for name, texts in corpora.items():
    begin = time.process_time()
    found = []
    for text in texts:
        spans = []
        for one in made:
            for hit in one.analyze(text, one.supported_entities, None) or ():
                if hit.score > 0.0:
                    spans.append([hit.start, hit.end, hit.entity_type, hit.score])
        spans.sort(key=lambda one: (-one[3], one[0] - one[1]))
        kept = []
        for one in spans:
            if all(one[1] <= other[0] or other[1] <= one[0] for other in kept):
                kept.append(one)
        found.append(kept)
    out[name] = [found, time.process_time() - begin]
json.dump(out, sys.stdout)
"""


def luhn(rng: random.Random, prefix: str, length: int) -> str:
    digits = prefix + "".join(rng.choice("0123456789") for _ in range(length - len(prefix) - 1))
    total = sum(
        (int(d) * 2 - 9 * (int(d) > 4)) if at % 2 == 0 else int(d)
        for at, d in enumerate(reversed(digits))
    )
    return digits + str(-total % 10)


def value(rng: random.Random, kind: str) -> str:
    if kind == "CREDIT_CARD":
        number = luhn(rng, rng.choice(["4", "51", "37", "6011"]), 16)
        joined = rng.choice(["", " ", "-"])
        return joined.join(number[at : at + 4] for at in range(0, 16, 4))
    if kind == "EMAIL_ADDRESS":
        name = rng.choice(["j.doe", "maria_k", "x.y+news", "o'hara", "info", "sales-eu"])
        return f"{name}{rng.randrange(99)}@{rng.choice(['acme', 'uni-x', 'mail.foo'])}.{rng.choice(['com', 'de', 'co.uk', 'org'])}"
    if kind == "US_SSN":
        return (
            f"{rng.randrange(1, 665):03d}-{rng.randrange(1, 99):02d}-{rng.randrange(1, 9999):04d}"
        )
    if kind == "IBAN_CODE":
        country, body = "DE", "".join(rng.choice("0123456789") for _ in range(18))
        check = 98 - int(body + "131400") % 97
        flat = f"{country}{check:02d}{body}"
        return flat if rng.random() < 0.5 else " ".join(flat[at : at + 4] for at in range(0, 22, 4))
    if kind == "IP_ADDRESS":
        if rng.random() < 0.2:
            return ":".join(f"{rng.randrange(65536):x}" for _ in range(8))
        return ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    if kind == "URL":
        return f"https://{rng.choice(['www.acme.com', 'x.io', 'api.foo.org'])}/{rng.choice(['a', 'p/q?x=1', 'index.html'])}"
    area, last = rng.randrange(201, 989), rng.randrange(10_000)
    return rng.choice([
        f"+1 {area} 555 {last:04d}", f"({area}) 555-{last:04d}", f"+49 30 {rng.randrange(10**6, 10**7)}",
        f"+44 20 7946 {last:04d}", f"{area}-555-{last:04d}",
    ])  # fmt: skip


LEGAL = [
    "WHEREAS, the Lessee (contact: {EMAIL_ADDRESS}; telephone {PHONE_NUMBER}) shall remit by 31.12.2024 the sum of EUR 12,500.00 to account {IBAN_CODE};",
    "Pursuant to Section 12.3(b) of the Agreement dated 2019-04-01, the Debtor, social security number {US_SSN}, consents.",
    "Notices under § 7 must be sent to {EMAIL_ADDRESS} with a copy to counsel, reachable at {PHONE_NUMBER}.",
    "The Plaintiff's card ending was disclosed in full as {CREDIT_CARD} in Exhibit 14-B, page 1123.",
    "Case No. 2:21-cv-01234-ABC, 567 F. Supp. 3d 890 (9th Cir. 2021), is not affected hereby.",
    "Article 17(3) of Regulation (EU) 2016/679 applies, as does Directive 95/46/EC.",
    "The filing is available at {URL} and was served on 05/06/2020 at 14:35.",
]
TECHNICAL = [
    "2024-05-17T12:30:45.123Z INFO [req-8f3a] client {IP_ADDRESS}:51324 GET {URL} 200 1532 0.0042",
    "ERROR user={EMAIL_ADDRESS} ip={IP_ADDRESS} trace=4f2a9c1d77e0b3a2 code=0x80004005",
    "commit 9fceb02d0ae598e95dc970b74767f19372d61af8 bumps foo from 1.2.3.4-rc1 to 1.2.4 (#10234)",
    "payment.card_number={CREDIT_CARD} amount=1999 currency=EUR order=2024051712345",
    "SELECT * FROM users WHERE ssn = '{US_SSN}' AND created > '2020-01-01';",
    "docker run -p 8080:80 registry.local/app:20240517.1 --mem 1073741824 --cpus 2.5",
    "iban: {IBAN_CODE}  # test fixture; phone: {PHONE_NUMBER}",
    "checksum d41d8cd98f00b204e9800998ecf8427e matched; 3.14159265358979 s elapsed",
]
FIRST = ["Anna", "Peter", "Mathilde", "Jean-Pierre", "Olga", "Kofi", "Will", "Grace"]
LAST = ["Smith", "Müller", "Dupont", "Ivanova", "Okafor", "Tanaka", "Gairbekov", "van der Berg"]
PLAIN = [
    "please write to {EMAIL_ADDRESS} today",
    "my card is {CREDIT_CARD} thanks",
    "ssn {US_SSN} ok",
    "transfer to {IBAN_CODE} please",
    "call me on {PHONE_NUMBER} tonight",
    "host {IP_ADDRESS} is down",
]


def fill(rng: random.Random, templates: list[str], count: int) -> list[tuple[str, list]]:
    out = []
    for _ in range(count):
        text, spans = "", []
        rest = rng.choice(templates)
        while "{" in rest:
            before, _, rest = rest.partition("{")
            kind, _, rest = rest.partition("}")
            text += before
            made = value(rng, kind)
            spans.append([len(text), len(text) + len(made), kind])
            text += made
        out.append((text + rest, spans))
    return out


def obfuscate(rng: random.Random, text: str, spans: list) -> tuple[str, list]:
    if not spans:
        return text, spans
    start, end, kind = spans[0]
    old = text[start:end]
    ways = [
        lambda: "\u200b".join(old),
        lambda: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in old),
        lambda: "".join(f"&#{ord(c)};" for c in old),
        lambda: "".join(f"%{ord(c):02X}" for c in old),
        lambda: old.replace("-", "–").replace(" ", "\u00a0"),
    ]
    if kind == "EMAIL_ADDRESS":
        ways += [
            lambda: old.replace("@", " (at) ").replace(".", " (dot) "),
            lambda: old.replace("@", "[at]"),
        ]
    if kind in {"CREDIT_CARD", "US_SSN"}:
        ways += [
            lambda: " ".join(old.replace(" ", "").replace("-", "")),
            lambda: old.replace("-", " - "),
        ]
    if kind == "EMAIL_ADDRESS":
        ways.append(lambda: base64.b64encode(f"to {old} now".encode()).decode())
    new = rng.choice(ways)()
    return text[:start] + new + text[end:], [[start, start + len(new), kind]]


def score(gold: list[list], predicted: list[list]) -> tuple[Counter, Counter, Counter]:
    right, wrong, missed = Counter(), Counter(), Counter()
    for labels, spans in zip(gold, predicted, strict=True):
        wanted = [(a, b, TYPES[kind]) for a, b, kind in labels if kind in TYPES]
        used = set()
        for a, b, kind in wanted:
            hit = next(
                (
                    at
                    for at, one in enumerate(spans)
                    if at not in used and one[2] == kind and one[0] < b and a < one[1]
                ),
                None,
            )
            if hit is None:
                missed[kind] += 1
            else:
                used.add(hit)
                right[kind] += 1
        for at, one in enumerate(spans):
            if at not in used:
                wrong[one[2]] += 1
    return right, wrong, missed


NAMED = {"PERSON": "name", "LOCATION": "place"}
OUR_NAMED = {"personal.name": "name", "location.city": "place", "location.country": "place"}


def named(texts: list[tuple[str, list]], found: list) -> None:
    """Print precision and recall of names and places, in sentences as written and in lower case."""
    print(
        "\n| type (sentences) | text | precision | without addresses, companies | recall | F1 |\n|---|---|---:|---:|---:|---:|"
    )
    for kind in ("name", "place"):
        for written in ("all", "with capitals"):
            right = wrong = missed = within = 0
            for (text, labels), spans in zip(texts, found, strict=True):
                if written == "with capitals" and text == text.lower():
                    continue
                # `Mr.` is labelled a person of its own in some sentences.
                wanted = [
                    (a, b)
                    for a, b, label in labels
                    if NAMED.get(label) == kind and text[a:b] not in TITLES
                ]
                others = [(a, b) for a, b, label in labels if label not in NAMED]
                left = [(s.start, s.end) for s in spans if OUR_NAMED.get(s.type) == kind]
                for a, b in wanted:
                    hit = next((one for one in left if one[0] < b and a < one[1]), None)
                    missed += hit is None
                    if hit is not None:
                        right += 1
                        left.remove(hit)
                inside = sum(any(a < d and c < b for c, d in others) for a, b in left)
                within += inside
                wrong += len(left) - inside
            p, q, r = (
                right / max(1, right + wrong + within),
                right / max(1, right + wrong),
                right / max(1, right + missed),
            )
            print(
                f"| {kind} | {written} | {p:.3f} | {q:.3f} | {r:.3f} | {2 * p * r / max(1e-9, p + r):.3f} |"
            )


TITLES = {"Mr.", "Mrs.", "Ms.", "Miss", "Dr.", "mr.", "mrs.", "ms.", "dr."}


def f1(right: int, wrong: int, missed: int) -> str:
    precision, recall = right / max(1, right + wrong), right / max(1, right + missed)
    return f"{precision:.3f} | {recall:.3f} | {2 * precision * recall / max(1e-9, precision + recall):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pii"))
    parser.add_argument("--presidio", default="")
    arguments = parser.parse_args()
    rng = random.Random(5)
    corpora: dict[str, list[tuple[str, list]]] = {}
    labelled = arguments.data / "presidio_generated_large.json"
    if labelled.exists():
        corpora["sentences"] = [
            (one["full_text"], [[s["start_position"], s["end_position"], s["entity_type"]] for s in one["spans"]])
            for one in json.loads(labelled.read_text())
        ]  # fmt: skip
    corpora["legal"] = fill(rng, LEGAL, 2000)
    corpora["technical"] = fill(rng, TECHNICAL, 2000)
    corpora["obfuscated"] = [obfuscate(rng, *one) for one in fill(rng, PLAIN, 2000)]

    from vallum.privacy import discover_table, discover_texts
    from vallum.sandbox import process_pool

    ours = {}
    spans_of: dict[str, list] = {}
    discover_texts(["warm Anna"])
    for name, texts in corpora.items():
        begin = time.process_time()
        spans_of[name] = found = discover_texts([text for text, _ in texts])
        ours[name] = (
            [
                [[s.start, s.end, s.type] for s in spans if s.type in TYPES.values()]
                for spans in found
            ],
            time.process_time() - begin,
        )
    peers = {}
    if arguments.presidio:
        answer = subprocess.run(
            [arguments.presidio, "-W", "ignore", "-c", PEER],
            check=True,
            capture_output=True,
            text=True,
            input=json.dumps({n: [t for t, _ in c] for n, c in corpora.items()}),
        )
        peers = {
            name: (
                [[[a, b, TYPES.get(kind, kind)] for a, b, kind, _ in spans] for spans in found],
                spent,
            )
            for name, (found, spent) in json.loads(answer.stdout).items()
        }
    print("| corpus | who | precision | recall | F1 | MB/s of CPU |\n|---|---|---:|---:|---:|---:|")
    for name, texts in corpora.items():
        size = sum(len(text.encode()) for text, _ in texts) / 1e6
        for who, made in (("vallum", ours), ("presidio, patterns", peers)):
            if name in made:
                found, spent = made[name]
                totals = [sum(one.values()) for one in score([g for _, g in texts], found)]
                print(f"| {name} | {who} | {f1(*totals)} | {size / spent:.2f} |")
    print("\n| type (sentences) | who | precision | recall | F1 |\n|---|---|---:|---:|---:|")
    if "sentences" in corpora:
        for who, made in (("vallum", ours), ("presidio, patterns", peers)):
            if made:
                right, wrong, missed = score(
                    [g for _, g in corpora["sentences"]], made["sentences"][0]
                )
                for kind in sorted(set(TYPES.values())):
                    print(f"| {kind} | {who} | {f1(right[kind], wrong[kind], missed[kind])} |")
        named(corpora["sentences"], spans_of["sentences"])
    words = (
        "the parties agree that nothing herein shall be construed as a waiver of any right".split()
    )
    prose = [" ".join(rng.choice(words) for _ in range(14)) for _ in range(200_000)]
    mixed = prose[:]
    for at in range(0, len(mixed), 50):
        mixed[at] = fill(rng, LEGAL, 1)[0][0]
    print(
        "\n| text | MB | MB/s of CPU, one thread | MB/s of wall time, all processors |\n"
        "|---|---:|---:|---:|"
    )
    begun = [line.capitalize() + "." for line in prose]
    people = begun[:]
    for at in range(0, len(people), 20):
        people[at] = f"Dear {rng.choice(FIRST)} {rng.choice(LAST)}, {people[at]}"
    for name, texts in (
        ("prose", prose),
        ("prose with sentences", begun),
        ("a name in 20 sentences", people),
        ("an identifier in 50 lines", mixed),
    ):
        begin = time.process_time()
        discover_texts(texts)
        size = sum(map(len, texts)) / 1e6
        alone = size / (time.process_time() - begin)
        begin = time.perf_counter()
        with process_pool() as run:  # the start of the processes counts
            discover_texts(texts * 6, run=run)
        together = 6 * size / (time.perf_counter() - begin)
        print(f"| {name} | {size:.1f}, 6 times that | {alone:.1f} | {together:.1f} |")
    import polars as pl

    rows = 300_000
    frame = pl.DataFrame({
        "email": [f"u{at}@example.org" for at in range(rows)], "age": [at % 90 for at in range(rows)],
        "city": [words[at % 14] for at in range(rows)], "amount": [at * 0.5 for at in range(rows)],
        "card": [luhn(rng, "4", 16) for _ in range(rows)], "note": ["nothing of note"] * rows,
    })  # fmt: skip
    begin, spent = time.perf_counter(), time.process_time()
    found = discover_table(frame)
    print(
        f"\ntable of {rows} rows and 6 columns: {rows / (time.perf_counter() - begin):,.0f} rows/s of wall time,"
        f" {rows / (time.process_time() - spent):,.0f} of CPU; {[one.type for one in found.columns]}"
    )


if __name__ == "__main__":
    sys.exit(main())
