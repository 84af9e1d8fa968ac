"""Round 5, hostile: pickles whose opcodes are unusual, and pickles hidden in real models."""

# fmt: off
# One sample a line: a table is read so.

import io
import pickle  # noqa: TID251 - written, never read
import struct
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out.fifth_asm import (
    ARGV,
    CMD,
    EXPR,
    INNER,
    MARK,
    SYSTEM,
    Add,
    Append,
    Call,
    Checked,
    Ex,
    Extend,
    Inst,
    Item,
    New,
    Obj,
    Raw,
    State,
    c,
    enc,
    g,
    made,
    raw,
    text,
)

SYS = g("posix:system")


class Reduced:
    """Pickles as a call; for real objects that carry one."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = (function, arguments)

    def __reduce__(self) -> Any:
        return self.what


def shell() -> Reduced:
    import posix

    return Reduced(posix.system, CMD)


def kind(name: str, **body: Any) -> Call:
    return c("builtins:type", name, (), body)


def p(*parts: bytes, proto: int = 4, stop: bytes = b".") -> bytes:
    return (b"\x80" + bytes([proto]) if proto >= 2 else b"") + b"".join(parts) + stop


def structures() -> Iterator[tuple[str, bytes, str]]:
    """Yield name, pickle, and how it is loaded."""
    partial = c("functools:partial", SYS, CMD)
    s4 = lambda value: text(value, 4)  # noqa: E731
    yield "inst_protocol_0", made(Inst("posix", "system", CMD), 0), "pickle"
    yield "inst_in_protocol_4", made(Inst("os", "system", CMD), 4), "pickle"
    yield "inst_without_arguments_then_call", made(Call(Inst("functools", "partial", SYS, CMD)), 1), "pickle"
    yield "obj_protocol_1", made(Obj(SYS, CMD), 1), "pickle"
    yield "obj_of_class", made(Obj(g("subprocess:Popen"), ARGV), 3), "pickle"
    yield "newobj_only_map_and_bytes", made(New(g("builtins:bytes"), New(g("builtins:map"), SYS, [CMD])), 2), "pickle"
    yield "newobj_only_map_and_tuple", made(New(g("builtins:tuple"), New(g("builtins:map"), SYS, [CMD])), 4), "pickle"
    yield "newobj_frozenset_filter", made(New(g("builtins:frozenset"), New(g("builtins:filter"), SYS, [CMD])), 4), "pickle"
    yield "newobj_ex_map", made(Ex(g("builtins:tuple"), (New(g("builtins:map"), SYS, [CMD]),), {}), 4), "pickle"
    yield "newobj_ex_popen_like", made(Ex(g("builtins:bytes"), (Ex(g("builtins:map"), (SYS, [CMD]), {}),), {}), 5), "pickle"
    yield "build_setstate_of_new_class", made(State(Call(kind("Scaler", __setstate__=SYS)), CMD), 4), "pickle"
    yield "build_setstate_proto2", made(State(New(kind("Scaler", __setstate__=SYS)), CMD), 2), "pickle"
    yield "append_attribute", made(Append(Call(kind("Weights", append=SYS)), CMD), 2), "pickle"
    yield "extend_attribute", made(Extend(Call(kind("Weights", extend=c("functools:partial", g("subprocess:call")))), ARGV), 2), "pickle"
    yield "additems_attribute", made(Add(Call(kind("Labels", add=SYS)), [CMD]), 4), "pickle"
    yield "setitem_attribute", made(Item(Call(kind("Params", __setitem__=g("posix:execv"))), ARGV[0], ARGV), 3), "pickle"
    yield "hash_of_key", made(Raw(b"}" + enc(Call(kind("Key", __hash__=partial)), 4) + b"K\x01s"), 4), "pickle"
    yield "hash_of_frozenset_item", made(Raw(b"(" + enc(Call(kind("Key", __hash__=partial)), 4) + b"\x91"), 4), "pickle"
    yield "eq_of_two_keys", made(Raw(b"}" + enc(Call(kind("Key", __hash__=c("functools:partial", g("builtins:int"), 1), __eq__=g("functools:partial"))), 4) + b"K\x01s0" + enc(SYSTEM)), 4), "pickle"
    yield "getattr_of_new_class", made(c("builtins:getattr", Call(kind("Model", __getattr__=SYS)), CMD), 4), "pickle"
    yield "init_subclass", made(Raw(enc(c("builtins:type", "Child", (kind("Base", __init_subclass__=partial),), {}))), 4), "pickle"
    yield "set_name_hook", made(kind("Model", field=Call(kind("Field", __set_name__=g("os:execvp")))), 4), ""
    yield "metaclass_call", made(Call(c("functools:partial", g("builtins:type"), "X", (), {}))), ""
    yield "del_at_collection", made(Raw(enc(Call(kind("Model", __del__=partial)), 4) + b"0N"), 4), "pickle"
    yield "names_from_operator_concat", made(Call(Raw(s4("posix") + enc(c("operator:concat", "sys", "tem")) + b"\x93"), CMD)), "pickle"
    yield "names_from_rot13", made(Call(Raw(s4("posix") + enc(c("codecs:decode", "flfgrz", "rot13")) + b"\x93"), CMD)), "pickle"
    yield "names_from_join", made(Call(Raw(s4("posix") + enc(c("builtins:str.join", "", ["s", "ys", "tem"])) + b"\x93"), CMD)), "pickle"
    yield "names_from_bytes_decode", made(Call(Raw(enc(c("builtins:bytes.decode", b"posix")) + enc(c("_codecs:decode", b"system", "latin1")) + b"\x93"), CMD)), "pickle"
    yield "names_from_slice", made(Call(Raw(s4("posix") + enc(c("builtins:str.__getitem__", "metsys", c("builtins:slice", None, None, -1))) + b"\x93"), CMD)), "pickle"
    yield "names_from_chr_map", made(Call(Raw(s4("posix") + enc(c("builtins:str.join", "", c("builtins:map", g("builtins:chr"), [115, 121, 115, 116, 101, 109]))) + b"\x93"), CMD)), "pickle"
    yield "names_from_format", made(Call(Raw(s4("posix") + enc(c("builtins:str.format", "{0}tem", "sys")) + b"\x93"), CMD)), "pickle"
    yield "names_from_memo", p(s4("system"), b"\x94", s4("posix"), b"\x94", b"00", b"h\x01h\x00\x93", s4(CMD), b"\x85R"), "pickle"
    yield "names_from_long_binget", p(s4("posix"), b"r\xff\xff\x01\x00", s4("system"), b"q\x07", b"00", b"j\xff\xff\x01\x00h\x07\x93", s4(CMD), b"\x85R"), "pickle"
    yield "names_from_text_memo", p(b"Vsystem\np300\n0Vposix\np301\n0g301\ng300\n\x93", s4(CMD), b"\x85R"), "pickle"
    yield "memo_overwritten", p(s4("system"), b"q\x05", s4("numpy"), b"q\x01", b"00", s4("posix"), b"q\x01", b"0h\x01h\x05\x93", s4(CMD), b"\x85R"), "pickle"
    yield "global_in_memo_called_later", p(enc(SYS), b"q\x090", enc({"weights": [0.5] * 20}), b"0h\x09", s4(CMD), b"\x85R"), "pickle"
    yield "argument_dup_opcode", p(enc(SYS), s4(CMD), b"\x85", b"2", b"0R"), "pickle"
    yield "pop_mark_over_call", p(b"(", enc(SYSTEM), b"1", enc({"a": 1})), "pickle"
    yield "second_proto_inside", p(b"\x80\x02", enc(SYSTEM), b"\x80\x05"), "pickle"
    yield "frame_lies_short", p(b"\x95" + struct.pack("<Q", 4), enc(SYSTEM)), ""
    yield "empty_frames", p((b"\x95" + struct.pack("<Q", 0)) * 50, enc(SYSTEM)), "pickle"
    yield "frames_every_opcode", p(*(b"\x95" + struct.pack("<Q", 1) + b"N" + b"\x95" + struct.pack("<Q", 1) + b"0" for _ in range(20)), enc(SYSTEM)), "pickle"
    yield "unicode_escapes_in_names", p(b"V\\u0070\\u006f\\u0073\\u0069\\u0078\nV\\u0073ystem\n\x93", s4(CMD), b"\x85R"), "pickle"
    yield "string_escapes_in_names", p(b"S'\\x70osix'\nS\"s\\171stem\"\n\x93", s4(CMD), b"\x85R"), "pickle"
    yield "short_binstring_names", p(b"U\x05posixU\x06system\x93", b"U" + bytes([len(CMD)]) + CMD.encode(), b"\x85R"), "pickle"
    yield "binstring_names", p(b"T\x05\x00\x00\x00posixT\x06\x00\x00\x00system\x93", s4(CMD), b"\x85R"), "pickle"
    yield "binunicode8_names", p(b"\x8d" + struct.pack("<Q", 5) + b"posix", b"\x8d" + struct.pack("<Q", 6) + b"system\x93", s4(CMD), b"\x85R"), "pickle"
    yield "long4_and_bytearray8_first", p(b"\x8b\x04\x00\x00\x00\x01\x02\x03\x040", b"\x96" + struct.pack("<Q", 3) + b"abc0", enc(SYSTEM), proto=5), "pickle"
    yield "ext1_after_registration", p(enc(c("copyreg:add_extension", "posix", "system", 241)), b"0\x82\xf1", s4(CMD), b"\x85R"), "pickle"
    yield "ext2_after_registration", p(enc(c("copyreg:add_extension", "posix", "system", 4242)), b"0\x83\x92\x10", s4(CMD), b"\x85R"), "pickle"
    yield "ext4_after_registration", p(enc(c("copyreg:add_extension", "posix", "system", 1 << 20)), b"0\x84\x00\x00\x10\x00", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "ext1_unknown_code", p(b"\x82\x07", s4(CMD), b"\x85R"), ""
    yield "inverted_registry", p(enc(Item(g("copyreg:_inverted_registry"), 77, ("posix", "system"))), b"0\x82\x4d", s4(CMD), b"\x85R"), "pickle"
    yield "sys_modules_swap", p(b"csys\nmodules\nq\x00X\x03\x00\x00\x00sysh\x00s0csys\nget\nq\x01X\x05\x00\x00\x00posix\x85Rq\x020h\x00X\x03\x00\x00\x00sysh\x02s0csys\nsystem\n", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "patched_find_class_target", p(enc(Item(g("sys:modules"), "held_out_fake", c("builtins:__import__", "posix"))), b"0cheld_out_fake\nsystem\n", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "build_on_module", p(enc(State(c("importlib:import_module", "json"), {"loads": SYS})), b"0cjson\nloads\n", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "build_slots_state", p(enc(State(c("importlib:import_module", "string"), (None, {"capwords": SYS}))), b"0cstring\ncapwords\n", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "setattr_then_global", p(enc(c("builtins:setattr", c("importlib:import_module", "string"), "capwords", SYS)), b"0cstring\ncapwords\n", s4(CMD), b"\x85R", proto=2), "pickle"
    yield "without_stop", p(enc(SYSTEM), stop=b""), "pickle"
    yield "cut_in_an_argument_later", p(enc(SYSTEM), b"X\xff\xff\xff\x7fabc", stop=b""), "pickle"
    yield "underflow_after_call", p(enc(SYSTEM), b"000000"), "pickle"
    yield "unknown_opcode_after_call", p(enc(SYSTEM), b"\xfe\xfe"), "pickle"
    yield "bad_utf8_after_call", p(enc(SYSTEM), b"\x8c\x02\xff\xfe"), "pickle"
    yield "missing_memo_after_call", p(enc(SYSTEM), b"h\xee"), "pickle"
    yield "protocol_9_after_call", p(enc(SYSTEM), b"\x80\x09"), "pickle"
    yield "stack_not_empty_at_stop", p(b"NNNN(", enc(SYSTEM)), "pickle"
    yield "second_pickle_hostile", pickle.dumps({"a": np.arange(3)}) + INNER, "pickles"
    yield "tenth_pickle_hostile", b"".join(pickle.dumps({"row": n}) for n in range(9)) + INNER, "pickles"
    yield "first_pickle_hostile", INNER + pickle.dumps({"a": 1}), "pickle"
    yield "offset_64_after_header", b"MODELv1\0".ljust(64, b"\0") + INNER, "pickle:64"
    yield "offset_4096_zeros", bytes(4096) + made(SYSTEM, 4), "pickle:4096"
    yield "offset_after_text", b"# weights follow\n" + INNER, "pickle:17"
    yield "protocol_0_only_text", b"cposix\nsystem\n(V" + CMD.encode() + b"\ntR.", "pickle"
    yield "protocol_0_crlf_like", b"I1\n0cposix\nsystem\n(S'" + CMD.encode() + b"'\ntR.", "pickle"
    yield "starts_with_brace", b"}0" + made(SYSTEM, 0), "pickle"
    yield "starts_with_mark_and_pop", b"(1" * 40 + made(SYSTEM, 1), "pickle"
    yield "large_padding_opcodes", p(b"N0" * 400_000, enc(SYSTEM)), "pickle"
    yield "deep_nesting", p(b"]" * 3000, enc(SYSTEM), b"a" * 3000), "pickle"
    yield "big_string_first", p(b"X" + struct.pack("<I", 2 << 20) + b"a" * (2 << 20) + b"0", enc(SYSTEM)), "pickle"
    yield "lying_bytes8_length", p(enc(SYSTEM), b"\x8e" + struct.pack("<Q", 1 << 60)), "pickle"
    yield "put_index_huge", p(b"Nr\xff\xff\xff\x07", enc(SYSTEM)), ""
    yield "zlib_layer_and_pickle_loads", made(c("pickle:loads", c("zlib:decompress", zlib.compress(INNER))), 4), "pickle"
    yield "five_nested_loads", nested(5), "pickle"
    yield "reduce_in_reduce_state", made(State(New(g("collections:OrderedDict")), {"x": SYSTEM}), 2), "pickle"
    yield "dictitems_value", made(Item(c("collections:OrderedDict"), "layer", SYSTEM), 2), "pickle"
    yield "persid_and_call", p(b"Pmodel\n", enc(SYSTEM)), ""
    yield "buffer_out_of_band", p(enc(SYSTEM), b"\x97\x98", proto=5), "pickle"
    yield "private_class_of_script", made(New(g("__main__:ChurnModel")), 4), ""
    yield "reconstructor_of_popen", made(c("copyreg:_reconstructor", g("builtins:bytes"), g("builtins:bytes"), c("builtins:map", SYS, [CMD])), 2), "pickle"
    yield "newobj_helper", made(c("copyreg:__newobj__", g("builtins:bytes"), c("builtins:map", SYS, [CMD])), 2), "pickle"
    yield "unicode_lookalike_name", made(c("numpу.core:load", CMD)), ""
    yield "name_with_newline_escape", p(raw(b"x", 4), b"0", s4("posix\nsystem"), b"0", enc(SYSTEM)), "pickle"
    yield "eval_hidden_in_warning_text", made(c("builtins:eval", "[" + EXPR + ", {'weights': [0.1, 0.2]}][1]")), "pickle"


def nested(depth: int) -> bytes:
    data = INNER
    for _ in range(depth):
        data = made(c("pickle:loads", data), 4)
    return data


def hosts(rng: np.random.Generator) -> Iterator[tuple[str, bytes, str]]:
    """Yield real models that carry one object that runs something."""
    import joblib
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    x, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
    forest = RandomForestClassifier(3, max_depth=3).fit(x, y)
    forest.feature_names_in_ = np.array(["a", "b", shell(), "d"], object)
    yield "forest_with_hostile_feature_name.pkl", pickle.dumps(forest), "pickle"
    line = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y)
    line.metadata_ = {"trained_by": shell()}
    yield "pipeline_with_metadata.pkl", pickle.dumps(line, 2), "pickle"
    text_model = TfidfVectorizer().fit(["a model of ham", "spam and eggs"])
    text_model.vocabulary_["zz"] = shell()
    for how in ("zlib", "gzip", "bz2", "xz", "lzma"):
        out = io.BytesIO()
        joblib.dump(text_model, out, compress=(how, 3))
        yield f"vectorizer_{how}.joblib", out.getvalue(), "joblib"
    out = io.BytesIO()
    joblib.dump({"weights": np.arange(10), "post": shell(), "more": np.ones(3)}, out)
    yield "call_between_arrays.joblib", out.getvalue(), "joblib"
    out = io.BytesIO()
    joblib.dump(np.array([1, shell()], object), out)
    yield "object_array.joblib", out.getvalue(), "joblib"
    frame = pd.DataFrame({"a": [1, 2], "b": [shell(), None]})
    yield "frame_with_object_column.pkl", pickle.dumps(frame), "pickle"
    yield "series_name.pkl", pickle.dumps(pd.Series([1.0], name="x").to_frame().assign(y=[shell()])), "pickle"
    for form, value in (("npy", np.array([{"a": shell()}], object)), ("npy", np.array([(1, shell())], [("id", "i4"), ("o", "O")]))):
        out = io.BytesIO()
        np.save(out, value)
        yield f"objects_{len(value.dtype.fields or {})}.{form}", out.getvalue(), "numpy:objects"
    out = io.BytesIO()
    np.savez_compressed(out, weights=np.ones(4), meta=np.array([shell()], object))
    yield "meta_member.npz", out.getvalue(), "numpy:objects"
    yield "function_transformer_system.pkl", made(State(New(g("sklearn.preprocessing._function_transformer:FunctionTransformer")), {"func": SYS, "inverse_func": None, "validate": False, "accept_sparse": False, "check_inverse": False, "feature_names_out": None, "kw_args": None, "inv_kw_args": None}), 4), "transform"
    yield "function_transformer_getoutput.pkl", pickle.dumps(make_pipeline(FunctionTransformer(__import__("subprocess").getoutput))), "transform"
    yield "vectorizer_tokenizer_eval.pkl", pickle.dumps(TfidfVectorizer(tokenizer=eval)), ""
    yield "scorer_in_grid_search.pkl", made({"best": State(New(g("sklearn.metrics._scorer:_Scorer")), {"_score_func": SYS, "_sign": 1, "_kwargs": {}, "_response_method": "predict"})}, 4), ""
    yield "ordered_dict_subclass_state.pkl", made(State(c("collections:OrderedDict", [("w", SYSTEM)]), {"_metadata": {}}), 2), "pickle"
    import xgboost

    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(x, y), 2)
    yield "xgboost_dict.pkl", pickle.dumps({"model": booster, "hook": shell()}), "pickle"
    import lightgbm

    gbm = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=2, verbose=-1).fit(x, y)
    gbm._other_params["callback"] = shell()  # noqa: SLF001 - what a pickle of it carries
    yield "lightgbm_attribute.pkl", pickle.dumps(gbm), "pickle"
    import cloudpickle

    threshold = 0.5
    yield "cloudpickle_lambda.pkl", cloudpickle.dumps({"post": lambda v: [threshold, __import__("os").system(CMD), v]}), ""
    namespace: dict[str, Any] = {}
    exec("class Model:\n    def predict(self, x):\n        import os\n        return os.system('" + CMD + "')\n    def __setstate__(self, state):\n        open('" + MARK + "', 'w').close()\n", {"__name__": "__main__"}, namespace)
    yield "cloudpickle_class_with_setstate.pkl", cloudpickle.dumps(stateful(namespace["Model"])), "pickle"
    bag = OrderedDict(weights=np.ones((2, 2)), hook=shell())
    yield "state_dict_numpy.pkl", pickle.dumps(bag, 0), "pickle"
    yield "set_item.pkl", pickle.dumps([frozenset({1}), shell()], 5), "pickle"



def stateful(cls: Any) -> Any:
    model = cls()
    model.weights = [1.0]
    return model


def samples(rng: np.random.Generator) -> Iterator[Checked]:
    endings = (".pkl", ".bin", ".ckpt", ".p", ".joblib", ".data", "")
    for at, (name, data, how) in enumerate(structures()):
        full = name + endings[at % len(endings)]
        yield Checked("pickle: opcodes", full, {full: data}, how)
    for name, data, how in hosts(rng):
        yield Checked("pickle: in a real model", name, {name: data}, how)
