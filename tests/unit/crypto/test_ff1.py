"""FF1 against NIST's published samples (FF1samples.pdf of SP 800-38G)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.crypto.ff1 import decrypt, encrypt, least_length

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
KEY = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94")
DIGITS, TWEAK = "0123456789", bytes.fromhex("39383736353433323130")
LONG, LONG_TWEAK = "0123456789abcdefghi", bytes.fromhex("3737373770717273373737")


def numerals(text: str) -> list[int]:
    return [ALPHABET.index(one) for one in text]


@pytest.mark.parametrize(
    ("key_bytes", "radix", "plain", "tweak", "secret"),
    [
        (16, 10, DIGITS, b"", "2433477484"),
        (16, 10, DIGITS, TWEAK, "6124200773"),
        (16, 36, LONG, LONG_TWEAK, "a9tv40mll9kdu509eum"),
        (24, 10, DIGITS, b"", "2830668132"),
        (24, 10, DIGITS, TWEAK, "2496655549"),
        (24, 36, LONG, LONG_TWEAK, "xbj3kv35jrawxv32ysr"),
        (32, 10, DIGITS, b"", "6657667009"),
        (32, 10, DIGITS, TWEAK, "1001623463"),
        (32, 36, LONG, LONG_TWEAK, "xs8a0azh2avyalyzuwd"),
    ],
)
def test_the_published_samples(
    *, key_bytes: int, radix: int, plain: str, tweak: bytes, secret: str
) -> None:
    key = KEY[:key_bytes]
    assert encrypt(key, [numerals(plain)], radix=radix, tweak=tweak) == [numerals(secret)]
    assert decrypt(key, [numerals(secret)], radix=radix, tweak=tweak) == [numerals(plain)]


@given(st.data(), st.integers(2, 300), st.binary(max_size=40))
@settings(max_examples=60)
def test_decrypting_undoes_encrypting(data: st.DataObject, radix: int, tweak: bytes) -> None:
    least = least_length(radix)
    values = data.draw(
        st.lists(
            st.lists(st.integers(0, radix - 1), min_size=least, max_size=least + 40), max_size=6
        )
    )
    made = encrypt(KEY, values, radix=radix, tweak=tweak)
    assert [len(one) for one in made] == [len(one) for one in values]
    assert decrypt(KEY, made, radix=radix, tweak=tweak) == values
    # Values of one length together are what they are alone.
    assert [encrypt(KEY, [one], radix=radix, tweak=tweak)[0] for one in values] == made


@pytest.mark.parametrize(
    ("key", "value", "radix", "code"),
    [
        (KEY, [1] * 5, 10, "ff1.length"),
        (KEY, [1] * 5000, 10, "ff1.length"),
        (KEY, [10] * 8, 10, "ff1.numeral"),
        (KEY, [-1] * 8, 10, "ff1.numeral"),
        (KEY, [0] * 30, 1, "ff1.radix"),
        (KEY[:15], [1] * 8, 10, "ff1.key"),
    ],
)
def test_what_is_unsafe_or_no_value_is_refused(
    key: bytes, value: list[int], radix: int, code: str
) -> None:
    with pytest.raises(InputError) as caught:
        encrypt(key, [value], radix=radix)
    assert caught.value.code == code
