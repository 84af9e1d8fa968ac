"""Check digits and structural rules that tell an identifier from a number that looks like one.

Each takes the matched text and returns whether it holds. Sources are named a function each.
"""

import ipaddress
import re

_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?(?=\d)")
_DATE = re.compile(
    r"(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d|(?:19|20)\d\d ?[-–] ?(?:19|20)\d\d"
)
_VERHOEFF_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_VIN_VALUES = dict(zip("ABCDEFGHJKLMNPRSTUVWXYZ", (1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 7, 9,
                                                    2, 3, 4, 5, 6, 7, 8, 9), strict=True))  # fmt: skip
_VIN_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def digits_of(text: str) -> str:
    """Return the digits of `text`."""
    return "".join(char for char in text if "0" <= char <= "9")


def always(text: str) -> bool:
    """Hold: the pattern alone decides."""
    return bool(text)


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    digits = digits_of(text)
    total = 0
    for place, char in enumerate(reversed(digits)):
        value = int(char) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return len(digits) > 1 and total % 10 == 0 and digits.strip("0") != ""


def card(text: str) -> bool:
    """Luhn and the lengths and prefixes of ISO/IEC 7812 issuers."""
    digits = digits_of(text)
    return 13 <= len(digits) <= 19 and digits[0] in "3456" and luhn(digits)


def iban(text: str) -> bool:
    """ISO 13616: the rearranged number is 1 modulo 97."""
    compact = "".join(text.split()).upper()
    if not (15 <= len(compact) <= 34 and compact[:2].isalpha() and compact[2:4].isdigit()):
        return False
    moved = compact[4:] + compact[:4]
    if not moved.isalnum() or not moved.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def ssn(text: str) -> bool:
    """US Social Security Administration: no 000, 666 or 9xx area, no 00 group, no 0000 serial."""
    digits = digits_of(text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return (
        len(digits) == 9
        and area not in {"000", "666"}
        and area[0] != "9"
        and group != "00"
        and serial != "0000"
    )


def aba(text: str) -> bool:
    """ABA routing number: weights 3, 7, 1."""
    digits = digits_of(text)
    if len(digits) != 9 or not digits.strip("0"):
        return False
    return sum(int(char) * (3, 7, 1)[at % 3] for at, char in enumerate(digits)) % 10 == 0


def nhs(text: str) -> bool:
    """NHS data dictionary: weights 10 to 2, modulo 11."""
    digits = digits_of(text)
    if len(digits) != 10:
        return False
    check = 11 - sum(int(char) * (10 - at) for at, char in enumerate(digits[:9])) % 11
    return check != 10 and check % 11 == int(digits[9])


def aadhaar(text: str) -> bool:
    """Verhoeff 1969, as UIDAI uses it; the first digit is 2 to 9."""
    digits = digits_of(text)
    if len(digits) != 12 or digits[0] in "01":
        return False
    check = 0
    for place, char in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[place % 8][int(char)])])
    return check == 0


def sin(text: str) -> bool:
    """Canada: Luhn over nine digits, the first not 0 or 8."""
    digits = digits_of(text)
    return len(digits) == 9 and digits[0] not in "08" and luhn(digits)


def cpf(text: str) -> bool:
    """Brazil, Receita Federal: two check digits modulo 11."""
    digits = digits_of(text)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    for count in (9, 10):
        total = sum(int(char) * (count + 1 - at) for at, char in enumerate(digits[:count]))
        if total * 10 % 11 % 10 != int(digits[count]):
            return False
    return True


def bsn(text: str) -> bool:
    """The Netherlands: the eleven test."""
    digits = digits_of(text)
    if len(digits) != 9 or not digits.strip("0"):
        return False
    total = sum(int(char) * (9 - at) for at, char in enumerate(digits[:8])) - int(digits[8])
    return total % 11 == 0


def nir(text: str) -> bool:
    """France, INSEE: 97 minus the number modulo 97; Corsica's 2A and 2B count 19 and 18."""
    compact = "".join(text.split()).upper()
    body, key = compact[:13].replace("2A", "19").replace("2B", "18"), compact[13:15]
    return (
        len(compact) == 15 and body.isdigit() and key.isdigit() and 97 - int(body) % 97 == int(key)
    )


def npi(text: str) -> bool:
    """US National Provider Identifier: Luhn with the prefix 80840 (45 CFR 162.406)."""
    digits = digits_of(text)
    return len(digits) == 10 and digits[0] in "12" and luhn("80840" + digits)


def vin(text: str) -> bool:
    """ISO 3779 with the North American check digit (49 CFR 565.15)."""
    value = text.upper()
    if len(value) != 17:
        return False
    total = 0
    for weight, char in zip(_VIN_WEIGHTS, value, strict=True):
        if char.isdigit():
            total += weight * int(char)
        elif char in _VIN_VALUES:
            total += weight * _VIN_VALUES[char]
        else:
            return False
    return value[8] == "0123456789X"[total % 11]


def ip_address(text: str) -> bool:
    """RFC 791 and RFC 4291."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def dea(text: str) -> bool:
    """US Drug Enforcement Administration: odd digits plus twice the even ones, last digit."""
    digits = digits_of(text)
    if len(digits) != 7:
        return False
    odd = sum(int(one) for one in digits[0:6:2])
    even = sum(int(one) for one in digits[1:6:2])
    return (odd + 2 * even) % 10 == int(digits[6])


def phone(text: str) -> bool:
    """ITU-T E.164: at most 15 digits; an extension is not counted. No date, no run of one digit."""
    main = _EXTENSION.split(text, maxsplit=1)[0]
    digits = digits_of(main)
    return 6 <= len(digits) <= 15 and len(set(digits)) > 2 and not _DATE.match(main.strip())
