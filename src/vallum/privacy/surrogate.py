"""Surrogates: other values of the same form, the same one for the same value under one key.

Where a standard reserves values for examples, those are used, so that a surrogate is nobody's:
RFC 2606 (domains), RFC 2544 and 3849 (addresses), numbers that the Social Security Administration
never issues. What has check digits gets right ones.
"""

import base64
import datetime as dt
import string
from collections.abc import Callable

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from vallum.crypto.prf import prf

_GIVEN = (
    "Ada", "Alan", "Amara", "Anouk", "Arun", "Bea", "Boris", "Carla", "Chidi", "Clara", "Dana",
    "Diego", "Elif", "Emil", "Esra", "Farid", "Fatma", "Goran", "Greta", "Hana", "Hugo", "Ines",
    "Ivan", "Jana", "Jonas", "Kofi", "Lars", "Lena", "Leo", "Lucia", "Malik", "Mara", "Mateo",
    "Mei", "Mila", "Nadia", "Noah", "Nora", "Olga", "Omar", "Paula", "Pavel", "Priya", "Rana",
    "Rosa", "Rui", "Sami", "Sara", "Sofia", "Soren", "Tariq", "Tessa", "Tomas", "Uma", "Vera",
    "Viktor", "Wanda", "Yara", "Yusuf", "Zoe", "Zara", "Iris", "Noor", "Kai",
)  # fmt: skip
_FAMILY = (
    "Abbas", "Adler", "Alves", "Bauer", "Becker", "Berg", "Blanc", "Castro", "Chen", "Costa",
    "Dahl", "Diaz", "Dubois", "Evans", "Farah", "Fischer", "Garcia", "Haas", "Hansen", "Ito",
    "Ivanov", "Jensen", "Kaya", "Keller", "Khan", "Kim", "Klein", "Kovac", "Kumar", "Lang",
    "Larsen", "Lopez", "Mbeki", "Meyer", "Moreau", "Mori", "Nagy", "Novak", "Okafor", "Olsen",
    "Park", "Patel", "Petrov", "Popa", "Ramos", "Reyes", "Rossi", "Sato", "Schmidt", "Silva",
    "Singh", "Sokolov", "Tanaka", "Torres", "Vega", "Vogel", "Wagner", "Weber", "Wolf", "Wood",
    "Yilmaz", "Young", "Zhang", "Ziegler",
)  # fmt: skip


def surrogate(key: bytes, kind: str, value: str) -> str:
    """Return a value of the form of `value`.

    Args:
        key: At least 32 random bytes.
        kind: Type as discovered; anything else keeps the class of each character.
        value: The original.
    """
    stream = _Stream(key, f"surrogate {kind}", value)
    make = _KINDS.get(kind)
    if make is None and kind.startswith("security."):
        make = _secret
    made = (make or _alike)(stream, value)
    # Never the value itself: a short one may come out as it was.
    for _ in range(16):
        if made != value:
            break
        made = (make or _alike)(stream, value)
    return made if made != value else "*" * len(value)


class _Stream:
    """Numbers drawn from a keyed function of one value."""

    def __init__(self, key: bytes, context: str, value: str) -> None:
        self._seed = prf(key, context, value)
        self._block = 0
        self._pool = 0
        self._room = 1

    def below(self, bound: int) -> int:
        """Return a number below `bound`, at most 2**32; the bias is under 2**-64."""
        if self._room < bound << 64:
            self._pool = int.from_bytes(prf(self._seed, "stream", str(self._block)), "big")
            self._room = 1 << 256
            self._block += 1
        self._pool, number = divmod(self._pool, bound)
        self._room //= bound
        return number

    def of(self, alphabet: str) -> str:
        """Return one of the characters."""
        return alphabet[self.below(len(alphabet))]


def _alike(stream: _Stream, value: str) -> str:
    out = []
    for one in value:
        if one.isdigit():
            out.append(stream.of(string.digits))
        elif one.isupper():
            out.append(stream.of(string.ascii_uppercase))
        elif one.isalpha():
            out.append(stream.of(string.ascii_lowercase))
        else:
            out.append(one)
    return "".join(out)


def _digits(stream: _Stream, value: str, digits: str) -> str:
    """Put `digits` where `value` has digits."""
    del stream
    rest = iter(digits)
    return "".join(next(rest) if one.isdigit() else one for one in value)


def _email(stream: _Stream, value: str) -> str:
    local, _, domain = value.rpartition("@")
    top = domain.rpartition(".")[2].lower()
    here = top if top in {"com", "net", "org"} else "org"
    # Twelve characters more than the form needs keep two people apart.
    return f"{_alike(stream, local)}.{_token(stream, 12)}@example.{here}"


def _token(stream: _Stream, length: int) -> str:
    return "".join(stream.of("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(length))


def _card(stream: _Stream, value: str) -> str:
    count = sum(one.isdigit() for one in value)
    body = "".join(stream.of(string.digits) for _ in range(max(0, count - 1)))
    return _digits(stream, value, body + luhn.calc_check_digit(body) if body else "")


def _iban(stream: _Stream, value: str) -> str:
    plain = "".join(value.split())
    country, body = plain[:2], _alike(stream, plain[4:])
    check = mod_97_10.calc_check_digits((body + country).upper())
    made = iter(country + check + body)
    return "".join(one if one.isspace() else next(made) for one in value)


def _ssn(stream: _Stream, value: str) -> str:
    # 900 to 999 are never issued as areas.
    digits = "9" + "".join(stream.of(string.digits) for _ in range(8))
    return _digits(stream, value, digits) if sum(c.isdigit() for c in value) == len(digits) else (
        _alike(stream, value)
    )  # fmt: skip


def _phone(stream: _Stream, value: str) -> str:
    # The country's code stays, it tells the form; the rest is drawn.
    code = next((at for at, one in enumerate(value) if at and not one.isdigit()), 0)
    head = value[:code] if value.startswith("+") and code <= 4 else ""  # noqa: PLR2004 - three digits at most
    return head + _alike(stream, value[len(head) :])


def _address(stream: _Stream, value: str) -> str:
    if ":" in value:
        words = ":".join(f"{stream.below(65536):x}" for _ in range(4))
        return f"2001:db8::{words}"
    return f"198.{18 + stream.below(2)}.{stream.below(256)}.{stream.below(256)}"


def _uuid(stream: _Stream, value: str) -> str:
    made = "".join("-" if one == "-" else stream.of("0123456789abcdef") for one in value)
    return made.upper() if value.isupper() else made


def _url(stream: _Stream, value: str) -> str:
    scheme = value.partition("://")[0] if "://" in value else ""
    return f"{scheme}://example.org/{_token(stream, 16)}" if scheme else (
        f"{_token(stream, 16)}.example.org"
    )  # fmt: skip


def _name(stream: _Stream, value: str) -> str:
    words = value.split()
    made = [_GIVEN[stream.below(len(_GIVEN))] for _ in words[:-1]]
    last = _FAMILY if len(words) > 1 else _GIVEN
    return " ".join([*made, last[stream.below(len(last))]])


def _date(stream: _Stream, value: str) -> str:
    try:
        date = dt.date.fromisoformat(value[:10])
        return (date + dt.timedelta(days=1 + stream.below(3650))).isoformat() + value[10:]
    except (ValueError, OverflowError):
        return _alike(stream, value)


def _secret(stream: _Stream, value: str) -> str:
    # A secret's surrogate must be no secret of the same issuer: nothing of its form is kept.
    return base64.b32encode(stream.below(2**32).to_bytes(4, "big")).decode().rstrip("=").ljust(
        min(len(value), 32), "x"
    )  # fmt: skip


_KINDS: dict[str, Callable[[_Stream, str], str]] = {
    "personal.email": _email,
    "personal.phone": _phone,
    "personal.name": _name,
    "financial.card": _card,
    "financial.iban": _iban,
    "government.us.ssn": _ssn,
    "network.ip": _address,
    "network.url": _url,
    "network.uuid": _uuid,
    "personal.birth_date": _date,
}
