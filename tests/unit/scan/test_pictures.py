"""TIFF, ICO, PNM, SVG and WAV: understood to the last byte, or refused."""

import base64
import io
import wave
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.audio import wav_fault
from vallum.scan.raster import ico_fault, pnm_fault, tiff_fault

PIXELS = Image.fromarray(np.arange(20 * 16 * 3, dtype=np.uint8).reshape(20, 16, 3))
EVIL = b"cos\nsystem\n(S'true'\ntR."


def image(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    PIXELS.save(out, kind, **options)
    return out.getvalue()


def wav() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes(range(101)))
    return out.getvalue()


TIFF, ICO, PNM, WAV = image("TIFF"), image("ICO", sizes=[(16, 16)]), image("PPM"), wav()
READERS: list[tuple[bytes, Callable[[memoryview], str]]] = [
    (TIFF, tiff_fault), (ICO, ico_fault), (PNM, pnm_fault), (WAV, wav_fault),
]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        TIFF, ICO, PNM, WAV,
        image("TIFF", compression="tiff_lzw", dpi=(72, 72)),
        image("TIFF", compression="jpeg"),
        image("TIFF", big_tiff=True),
        image("TIFF", save_all=True, append_images=[PIXELS.rotate(90), PIXELS.convert("L")]),
    ],
)  # fmt: skip
def test_pictures_and_sounds_are_clean(data: bytes) -> None:
    assert scan_bytes("x", data).verdict is ScanVerdict.CLEAN


@pytest.mark.parametrize("tail", [EVIL, b"\x7fELF" + bytes(40), b"PK\x05\x06" + bytes(18), b"x"])
@pytest.mark.parametrize("data", [TIFF, ICO, PNM, WAV])
def test_what_follows_a_picture_is_refused(data: bytes, tail: bytes) -> None:
    assert scan_bytes("x", data + tail).exit_code == 1


@settings(max_examples=60)
@given(st.sampled_from(READERS), st.data())
def test_cut_short_or_with_more_it_is_never_clean(
    one: tuple[bytes, Callable[[memoryview], str]], draw: st.DataObject
) -> None:
    data, reader = one
    end = draw.draw(st.integers(8, len(data) - 1))
    assert reader(memoryview(data[:end])) or not any(data[end:])
    more = draw.draw(st.binary(min_size=1, max_size=40).filter(any))
    assert reader(memoryview(data + more))


@given(st.integers(8, len(TIFF) - 1), st.binary(min_size=1, max_size=4))
def test_any_change_of_a_tiff_is_read_or_refused(at: int, new: bytes) -> None:
    assert isinstance(tiff_fault(memoryview(TIFF[:at] + new + TIFF[at + len(new) :])), str)


def test_a_table_that_leads_to_itself_or_over_another_part_is_refused() -> None:
    start = int.from_bytes(TIFF[4:8], "little")
    count = int.from_bytes(TIFF[start : start + 2], "little")
    end = start + 2 + 12 * count
    cycle = TIFF[:end] + start.to_bytes(4, "little") + TIFF[end + 4 :]
    assert "a cycle" in tiff_fault(memoryview(cycle))
    hidden = TIFF[:4] + (8 + len(EVIL)).to_bytes(4, "little") + EVIL + TIFF[8:]
    assert tiff_fault(memoryview(hidden))


def svg(inside: str, head: str = "", more: str = "") -> bytes:
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<?xml version="1.0"?>\n{head}<svg {space} {more}>{inside}</svg>\n'.encode()


DOCTYPE = (
    '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"\n'
    ' "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n'
)
PICTURE = base64.b64encode(image("PNG")).decode()
FILL = '<rect style="fill: url(#s)" width="2"/>'


@pytest.mark.parametrize(
    "data",
    [
        svg(FILL, DOCTYPE),
        svg(f'<image xlink:href="data:image/png;base64,{PICTURE}"/><use xlink:href="#a"/>'),
        svg('<style type="text/css">*{stroke-linejoin: round}</style><text>x &lt; y</text>'),
        svg('<a href="https://example.org/x"><title>loss</title></a>', "<!-- made by us -->"),
    ],
)
def test_drawings_are_clean(data: bytes) -> None:
    (file,) = scan_bytes("curve.svg", data).files
    assert (file.format, file.verdict) == ("svg", ScanVerdict.CLEAN)


@pytest.mark.parametrize(
    "data",
    [
        svg("<script>alert(1)</script>"),
        svg("<foreignObject><p/></foreignObject>"),
        svg('<rect onload="x()"/>'),
        svg('<g xlink:href="javascript:x()"/>'),
        svg('<a href="javascript:x()"/>'),
        svg('<image href="https://example.org/x.png"/>'),
        svg('<use href="other.svg#a"/>'),
        svg('<set attributeName="href" to="x"/>'),
        svg('<rect style="fill: url(https://example.org/x)"/>'),
        svg("<style>@import 'x'</style>"),
        svg("<style>a{b:url(x)}</style>"),
        svg('<p xmlns="http://www.w3.org/1999/xhtml"/>'),
        svg(FILL, '<!DOCTYPE svg [<!ENTITY a "b">]>'),
        svg(FILL, '<?xml-stylesheet href="x"?>'),
        svg(FILL, more='xml:base="https://example.org/"'),
        svg(f'<image href="data:image/png;base64,{PICTURE}AAAA"/>'),
        svg(f'<image href="data:image/svg+xml;base64,{PICTURE}"/>'),
        svg(FILL) + EVIL,
        svg(FILL)[:-8],
    ],
)
def test_drawings_that_act_or_fetch_are_refused(data: bytes) -> None:
    assert scan_bytes("curve.svg", data).exit_code == 1
