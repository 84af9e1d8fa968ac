"""Hostile pickles of the sixth round: the opcodes themselves."""

import base64
import io
import pickle  # noqa: TID251 - written, never read
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from held_out.sixth_asm import (
    CANARY,
    CMD,
    EXPR,
    B,
    Bytes,
    G,
    Loaded,
    R,
    evaluated,
    framed,
    g,
    item,
    r,
    system,
    text,
    whole,
)
from held_out.sixth_libraries import code

Raw = tuple[str, bytes, str]


def computed(module: object, name: object, argument: object = CMD, p: int = 4) -> bytes:
    """Call a global whose names are results."""
    found = item(module, p) + item(name, p) + b"\x93"
    return whole(Bytes(found + item((argument,), p) + b"R"), p=p)


def extensions() -> Iterator[Raw]:
    """Globals behind a number."""
    named = r("copyreg.add_extension", "posix", "system", 77)
    yield "registered_ext1", whole(named, Bytes(b"\x82M" + item((CMD,), 4) + b"R")), "pickle"
    far = r("copyreg.add_extension", "posix", "system", 0x1234)
    yield "registered_ext2", whole(far, Bytes(b"\x83\x34\x12" + item((CMD,), 4) + b"R")), "pickle"
    farther = r("copyreg.add_extension", "builtins", "eval", 0x123456)
    yield (
        "registered_ext4",
        whole(farther, Bytes(b"\x84" + struct.pack("<i", 0x123456) + item((EXPR,), 2) + b"R"), p=2),
        "pickle",
    )
    table = Bytes(
        item(g("copyreg._inverted_registry"), 4) + item(9, 4) + item(("posix", "system"), 4) + b"s"
    )
    yield "inverted_registry", whole(table, Bytes(b"\x82\x09" + item((CMD,), 4) + b"R")), "pickle"
    cache = Bytes(
        item(g("copyreg._extension_cache"), 4)
        + item(8, 4)
        + item(r("pydoc.locate", "os.system"), 4)
        + b"s"
    )
    yield "extension_cache", whole(named, cache, Bytes(b"\x82M" + item((CMD,), 4) + b"R")), "pickle"
    yield "registered_obj", whole(named, Bytes(b"(\x82M" + item(CMD, 4) + b"o")), "pickle"
    yield "unregistered_obj", whole(Bytes(b"(\x82\xc8" + item(CMD, 4) + b"o")), "construction"
    yield (
        "unregistered_newobjex",
        whole(Bytes(b"\x83\x10\x27" + item((CMD,), 4) + b"}\x92")),
        "construction",
    )


def calls() -> Iterator[Raw]:
    """Everything that calls, other than REDUCE."""
    yield "inst_eval", whole(R(g("builtins.eval"), (EXPR,), "inst"), p=0), "pickle"
    yield "inst_popen", whole(R(g("subprocess.Popen"), (["touch", CANARY],), "inst"), p=2), "pickle"
    yield "obj_getoutput", whole(R(g("subprocess.getoutput"), (CMD,), "obj"), p=1), "pypickle"
    yield "obj_filehandler", whole(R(g("logging.FileHandler"), (CANARY,), "obj"), p=2), "pickle"
    yield (
        "newobj_memmap",
        whole(R(g("numpy.memmap"), (CANARY, "uint8", "w+", 0, (2,)), "newobj")),
        "pickle",
    )
    yield (
        "newobjex_memmap",
        whole(R(g("numpy.memmap"), (CANARY, "uint8", "w+", 0, (2,)), "newobjex")),
        "pickle",
    )
    yield (
        "newobj_map",
        whole(r("builtins.list", R(g("builtins.map"), (g("builtins.eval"), [EXPR]), "newobj"))),
        "pickle",
    )
    function = R(g("types.FunctionType"), (r("marshal.loads", code()), {}), "newobj")
    yield "newobj_function", whole(r(function)), "pickle"
    space = B(r("types.SimpleNamespace"), {"__setstate__": g("posix.system")})
    yield "build_setstate", whole(B(space, CMD)), "pickle"
    learner = B(
        r("sklearn.naive_bayes.GaussianNB"),
        {"__setstate__": g("os.system"), "_sklearn_version": "1.9.1"},
    )
    yield "build_setstate_estimator", whole(B(learner, CMD)), "pickle"
    listed = item(B(r("types.SimpleNamespace"), {"append": g("os.system")}), 4)
    yield "append_attribute", whole(Bytes(listed + item(CMD, 4) + b"a")), "pickle"
    longer = item(
        B(
            r("argparse.Namespace"),
            {"extend": r("functools.partial", g("builtins.map"), g("builtins.eval"))},
        ),
        4,
    )
    yield (
        "appends_extend",
        whole(
            r("builtins.list", r("builtins.map", g("builtins.eval"), [EXPR])),
            Bytes(longer + b"(" + item(EXPR, 4) + b"e"),
        ),
        "pickle",
    )
    added = item(B(r("types.SimpleNamespace"), {"add": g("posix.system")}), 4)
    yield "additems_attribute", whole(Bytes(added + b"(" + item(CMD, 4) + b"\x90")), "pickle"
    yield (
        "newobj_partial_state",
        whole(
            r(
                B(
                    R(g("functools.partial"), (g("builtins.len"),), "newobj"),
                    (g("os.system"), (CMD,), {}, None),
                )
            )
        ),
        "pickle",
    )


def memos() -> Iterator[Raw]:
    """Names that are results, and memos that are not what they seem."""
    name = {
        "lower": r("builtins:str.lower", "SYSTEM"),
        "replace": r("builtins:str.replace", "sXstem", "X", "y"),
        "join": r("builtins:str.join", "", ["sys", "tem"]),
        "mod": r("operator.mod", "%stem", "sys"),
        "slice": r("operator.getitem", "xsystemx", r("builtins.slice", 1, 7)),
        "fromhex": r("builtins:bytes.decode", r("builtins:bytes.fromhex", "73797374656d")),
        "json": r("json.loads", '"system"'),
        "literal": r("ast.literal_eval", "'sys' 'tem'"),
        "unquote": r("urllib.parse.unquote", "%73ystem"),
        "zlib": r("builtins.str", r("zlib.decompress", zlib.compress(b"system")), "ascii"),
        "chars": r(
            "builtins:str.join",
            "",
            r("builtins.map", g("builtins.chr"), [115, 121, 115, 116, 101, 109]),
        ),
        "format": r("builtins:str.format", "{}tem", "sys"),
        "unescape": r("html.unescape", "&#115;ystem"),
        "intern": r("sys.intern", "system"),
    }
    for kind, value in name.items():
        yield f"name_{kind}", computed("posix", value), "pickle"
    yield "module_osname", computed(G("os", "name"), "system"), "pickle"
    yield "module_attribute", computed(G("os", "path.__name__"), "os.system"), "pickle"
    twice = (
        text("math", 4)
        + b"q\x01"
        + b"0"
        + text("posix", 4)
        + b"q\x010"
        + b"h\x01"
        + text("system", 4)
        + b"\x93"
    )
    yield "put_twice", whole(Bytes(twice + item((CMD,), 4) + b"R")), "pickle"
    mixed = (
        text("collections", 4)
        + b"\x94"
        + text("OrderedDict", 4)
        + b"\x9400"
        + text("posix", 4)
        + b"p0\n"
        + text("system", 4)
        + b"r\x01\0\0\0"
        + b"00h\0h\x01\x93"
    )
    yield "memoize_then_put", whole(Bytes(mixed + item((CMD,), 4) + b"R")), "pickle"
    far = (
        text("posix", 4)
        + b"r\x40\x42\x0f\0"
        + text("system", 4)
        + b"p1000001\n00"
        + b"j\x40\x42\x0f\0g1000001\n\x93"
    )
    yield "memo_far", whole(Bytes(far + item((CMD,), 4) + b"R")), "pickle"
    marked = (
        b"(" + text("system", 4) + b"q\x05" + text("x", 4) + b"1" + text("posix", 4) + b"h\x05\x93"
    )
    yield "memo_of_marked", whole(Bytes(marked + item((CMD,), 4) + b"R")), "pickle"
    yield (
        "memo_callable",
        whole(Bytes(item(g("posix.system"), 4) + b"q\x030]" + b"(h\x03" + item((CMD,), 4) + b"Re")),
        "pickle",
    )
    yield (
        "dup_tuple",
        whole(Bytes(item(g("posix.system"), 4) + b"2" + item((CMD,), 4) + b"R\x86")),
        "pickle",
    )
    yield (
        "dict_of_callables",
        whole(r(r("builtins:dict.pop", {"a": g("posix.system")}, "a"), CMD)),
        "pickle",
    )


def broken() -> Iterator[Raw]:
    """The payload ran before the rest turned out to be nonsense."""
    first = whole(system(), end=b"")
    low = whole(evaluated(), p=2, end=b"")
    for name, rest in {
        "opcode_ff": b"\xff.", "opcode_zero": b"\0.", "bytes8_huge": b"\x8e" + struct.pack("<Q", 1 << 62) + b".",
        "long4_negative": b"\x8b" + struct.pack("<i", -5) + b".", "unhashable": b"}]Ns.", "global_of_ints": b"K\x01K\x02\x93.",
        "get_missing": b"h\xfe.", "pop_empty": b"0000.", "next_buffer": b"\x97.", "persid": b"Pabc\n.", "binpersid": b"NQ.",
        "ext_zero": b"\x82\0.", "mark_missing": b"t.", "frame_in_frame": b"\x95\x10\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0.",
        "bytearray8_huge": b"\x96" + struct.pack("<Q", 1 << 61) + b".", "unicode_unended": b"Vabc", "int_of_letters": b"Ix\n.",
        "newobj_of_int": b"K\x01)\x81.", "build_none": b"NNb.", "missing_module": b"cno_such_module_at_all\nx\n.",
        "raises": item(r("builtins.int", "x"), 2) + b".", "stop_empty": b"0.", "proto_seven": b"\x80\x07.", "string_unquoted": b"Sabc\n.",
    }.items():  # fmt: skip
        start = low if len(name) % 2 else first
        yield name, start + rest, "pickle"


def streams(rng: np.random.Generator) -> Iterator[Raw]:
    """A payload behind something that ended."""
    plain = pickle.dumps({"weights": [float(x) for x in rng.normal(size=40)]}, 4)
    array = io.BytesIO()
    np.save(array, rng.normal(size=(4, 4)))
    bad = whole(evaluated(), p=2)
    yield "behind_two", plain + plain + bad, "streams"
    yield (
        "behind_text",
        pickle.dumps("header", 0) + pickle.dumps([1, 2], 0) + whole(system(), p=0),
        "streams",
    )
    yield "first_of_three", bad + plain + plain, "streams"
    yield "behind_none", b"N." * 400 + bad, "streams"
    for name, at in (("legacy_sys_info", 2), ("legacy_object", 3), ("legacy_keys", 4)):
        parts = [
            pickle.dumps(one, 2)
            for one in (
                0x1950A86A20F9469CFC6C,
                1001,
                {
                    "protocol_version": 1001,
                    "little_endian": True,
                    "type_sizes": {"short": 2, "int": 4, "long": 4},
                },
                {},
                [],
            )
        ]
        parts[at] = whole(Bytes(item(evaluated(), 2) + b"0" + parts[at][2:-1]), p=2)
        yield name, b"".join(parts), "torch"
    magic = whole(
        Bytes(item(system(), 2) + b"0" + pickle.dumps(0x1950A86A20F9469CFC6C, 2)[2:-1]), p=2
    )
    yield "legacy_magic", magic + b"".join(pickle.dumps(x, 2) for x in (1001, {}, {}, [])), "torch"


def nested() -> Iterator[Raw]:
    """A pickle inside a pickle."""
    bad = whole(system(), p=3)
    ready = r("io.BytesIO", bad)
    yield "pickle._loads", whole(r("pickle._loads", bad)), "pickle"
    yield (
        "pickle._Unpickler",
        whole(r("pickle:_Unpickler.load", r("pickle._Unpickler", ready))),
        "pickle",
    )
    yield "pandas.read_pickle", whole(r("pandas.read_pickle", ready)), "pickle"
    npy = io.BytesIO()
    np.save(npy, np.zeros(1))
    head = npy.getvalue()[:-8].replace(b"'<f8'", b"'|O' ")
    yield "numpy.load", whole(r("numpy.load", r("_io.BytesIO", head + bad), None, True)), "pickle"
    yield (
        "numpy.lib.format.read_array",
        whole(r("numpy.lib.format.read_array", r("_io.BytesIO", head + bad), True)),
        "pickle",
    )
    yield (
        "torch.storage._load_from_bytes",
        whole(r("torch.storage._load_from_bytes", bad), p=2),
        "construction",
    )
    yield "joblib.load", whole(r("joblib.numpy_pickle.load", ready)), "pickle"
    yield (
        "ForkingPickler.loads",
        whole(r("multiprocessing.reduction:ForkingPickler.loads", bad)),
        "pickle",
    )
    yield "hex", whole(r("pickle.loads", r("binascii.unhexlify", bad.hex()))), "pickle"
    yield (
        "base85",
        whole(r("_pickle.loads", r("base64.b85decode", base64.b85encode(bad)))),
        "pickle",
    )
    yield "zlib", whole(r("cloudpickle.loads", r("zlib.decompress", zlib.compress(bad)))), "pickle"
    yield "bytearray", whole(r("pickle.loads", r("builtins.bytearray", bad)), p=5), "pickle"
    yield (
        "three_deep",
        whole(r("pickle.loads", whole(r("pickle.loads", whole(r("pickle.loads", bad)))))),
        "pickle",
    )
    yield "shelf", whole(r("cloudpickle.loads", bad), p=2), "pickle"


def escapes() -> Iterator[Raw]:
    """Names that are spelled otherwise."""
    call = item((CMD,), 4) + b"R"
    yield "unicode_u", whole(Bytes(b"V\\u0070osix\nV\\u0073\\u0079stem\n\x93" + call)), "pickle"
    yield "unicode_U", whole(Bytes(b"Vposi\\U00000078\nVsyste\\U0000006d\n\x93" + call)), "pickle"
    yield "string_octal", whole(Bytes(b"S'\\160osix'\nS'\\163ystem'\n\x93" + call)), "pickle"
    yield "string_hex", whole(Bytes(b'S"po\\x73ix"\nS"\\x73ystem"\n\x93' + call)), "pickle"
    yield "python2_commands", whole(r("commands.getoutput", CMD), p=0), "pickle"
    yield (
        "python2_imap",
        whole(r("__builtin__.list", r("itertools.imap", g("__builtin__.eval"), [EXPR])), p=2),
        "pickle",
    )
    yield "python2_cpickle", whole(r("cPickle.loads", whole(system(), p=2)), p=2), "pickle"
    yield (
        "unicode8",
        whole(Bytes(b"\x8d\x05\0\0\0\0\0\0\0posix\x8d\x06\0\0\0\0\0\0\0system\x93" + call)),
        "pickle",
    )
    yield "short_string", whole(Bytes(b"U\x05posixU\x06system\x93" + call)), "pickle"


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    tables = (
        ("P04 extension opcodes", extensions()), ("P05 call opcodes", calls()), ("P06 computed names", memos()),
        ("P08 broken after", broken()), ("P09 several streams", streams(rng)), ("P10 nested pickle", nested()), ("P11 escapes", escapes()),
    )  # fmt: skip
    for category, rows in tables:
        for name, data, how in rows:
            tidy = (
                category[:3] in ("P05", "P06", "P10")
                and data[:1] == b"\x80"
                and data[1] >= 4
                and rng.random() < 0.4
            )
            file = f"{name}.{'pt' if how == 'torch' else 'pkl'}"
            yield Loaded(category, file, {file: framed(data) if tidy else data}, how)
