"""GMAC of blocks: what it is, and that no other block passes."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from vallum.crypto.fingerprint import Fingerprint


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_only_the_block_of_a_place_passes_there(blocks: list[bytes], data: st.DataObject) -> None:
    known = Fingerprint()
    for block in blocks:
        known.add(block)
    assert len(known) == len(blocks)
    at = data.draw(st.integers(0, len(blocks)))
    other = data.draw(st.sampled_from(blocks) | st.binary(max_size=40))
    assert known.matches(at, other) is (at < len(blocks) and blocks[at] == other)


def test_tags_are_gmac_under_a_key_of_their_own() -> None:
    known = Fingerprint()
    known.add(b"block")
    (tag,) = known._tags
    again = Fingerprint()
    again.add(b"block")
    assert again._tags != [tag]
    # The same by the library's other interface, whose tag is that of additional data alone.
    key = bytes(32)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(bytes(12))).encryptor()
    encryptor.authenticate_additional_data(b"block")
    encryptor.finalize()
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    known._cipher = AESGCM(key)
    assert known._tag(0, b"block") == encryptor.tag
