"""What a pickle may name: every entry is harmless with any arguments, and nothing else is.

The list is exact: no prefixes and no patterns, so that `numpy.testing._private.utils.runstring`
or `keras.src.utils.file_utils.os.system` match nothing. An entry must be safe to call with
whatever a stream can build, other entries included, because `__setstate__` in a `__dict__` makes
any reachable callable run.
"""

from vallum.scan.allowed_sklearn import SKLEARN
from vallum.scan.values import Global

_PYTHON = """
builtins: bool bytearray bytes complex dict float frozenset int list object range set slice str
  tuple len NoneType Ellipsis NotImplemented
  ArithmeticError AssertionError AttributeError BaseException BlockingIOError BrokenPipeError
  BufferError ConnectionAbortedError ConnectionError ConnectionRefusedError ConnectionResetError
  DeprecationWarning EOFError EnvironmentError Exception FileExistsError FileNotFoundError
  FloatingPointError FutureWarning IOError ImportError IndexError InterruptedError KeyError
  KeyboardInterrupt LookupError MemoryError ModuleNotFoundError NameError NotImplementedError
  OSError OverflowError PendingDeprecationWarning PermissionError RecursionError RuntimeError
  RuntimeWarning StopIteration SyntaxError TimeoutError TypeError UnicodeDecodeError
  UnicodeEncodeError UnicodeError UserWarning ValueError Warning ZeroDivisionError
calendar: Day Month
collections: ChainMap Counter OrderedDict UserDict UserList UserString defaultdict deque
copyreg: _reconstructor __newobj__
_codecs: encode
datetime: date datetime time timedelta timezone
dateutil.relativedelta: relativedelta
dateutil._common: weekday
dateutil.tz.tz: tzutc tzoffset tzlocal
dateutil.tz: tzutc tzoffset tzlocal
decimal: Decimal Context DecimalException Clamped InvalidOperation DivisionByZero Inexact Rounded
  Subnormal Overflow Underflow FloatOperation
difflib: Match
fractions: Fraction
http: HTTPStatus HTTPMethod
ipaddress: IPv4Address IPv4Interface IPv4Network IPv6Address IPv6Interface IPv6Network
plistlib: UID
pytz: _UTC _p
random: Random
re: _compile RegexFlag
signal: Signals
statistics: NormalDist
string: Template
textwrap: TextWrapper
time: struct_time
urllib.parse: DefragResult DefragResultBytes ParseResult ParseResultBytes SplitResult
  SplitResultBytes
zoneinfo: ZoneInfo ZoneInfo._unpickle
uuid: UUID SafeUUID
pathlib: Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath
array: array _array_reconstructor
"""

_NUMPY = """
numpy: dtype ndarray matrix record recarray bool bool_ float16 float32 float64 float128 int8 int16
  int32 int64 uint8 uint16 uint32 uint64 complex64 complex128 str_ bytes_ void object_ datetime64
  timedelta64 longlong ulonglong intc uintc longdouble log1p expm1 log exp sqrt mean median max min
  sum std var log2 log10 abs absolute square cbrt amax amin
  clongdouble iinfo finfo poly1d busdaycalendar asarray
numpy.char: chararray
numpy.dtypes: BoolDType ByteDType BytesDType CLongDoubleDType Complex128DType Complex64DType
  DateTime64DType Float16DType Float32DType Float64DType Int16DType Int32DType Int64DType Int8DType
  IntDType LongDType LongDoubleDType LongLongDType ObjectDType ShortDType StrDType StringDType
  TimeDelta64DType UByteDType UInt16DType UInt32DType UInt64DType UInt8DType UIntDType ULongDType
  ULongLongDType UShortDType VoidDType
numpy._core._internal: _convert_to_stringdtype_kwargs
numpy.polynomial.chebyshev: Chebyshev
numpy.polynomial.hermite: Hermite
numpy.polynomial.hermite_e: HermiteE
numpy.polynomial.laguerre: Laguerre
numpy.polynomial.legendre: Legendre
numpy.polynomial.polynomial: Polynomial
numpy.rec: recarray
numpy.ma: MaskedArray
numpy.ma.core: MaskedArray MaskedConstant _mareconstruct
numpy._core.multiarray: _reconstruct scalar
numpy._core.numeric: _frombuffer
numpy.random._pickle: __bit_generator_ctor __generator_ctor __randomstate_ctor
numpy.random._mt19937: MT19937
numpy.random._pcg64: PCG64 PCG64DXSM
numpy.random._philox: Philox
numpy.random._sfc64: SFC64
numpy.random.bit_generator: SeedSequence __pyx_unpickle_SeedSequence
numpy.random.mtrand: RandomState
numpy.random._generator: Generator
scipy.sparse._csr: csr_matrix csr_array
scipy.sparse._csc: csc_matrix csc_array
scipy.sparse._coo: coo_matrix coo_array
scipy.sparse._bsr: bsr_matrix bsr_array
scipy.sparse._dia: dia_matrix dia_array
scipy.sparse._lil: lil_matrix lil_array
scipy.sparse._dok: dok_matrix dok_array
scipy.sparse.csr: csr_matrix
scipy.sparse.csc: csc_matrix
scipy._lib.array_api_compat.numpy._aliases: asarray
scipy.interpolate._bsplines: BSpline
scipy.interpolate._interpolate: interp1d PPoly BPoly interp1d._call_linear interp1d._call_linear_np
  interp1d._call_nearest interp1d._call_previousnext interp1d._call_spline
  interp1d._call_nan_spline
scipy.spatial._ckdtree: cKDTree
scipy.spatial._kdtree: KDTree
joblib.numpy_pickle: NumpyArrayWrapper
pandas: ArrowDtype Categorical CategoricalDtype CategoricalIndex DataFrame DatetimeTZDtype Index
  Interval IntervalDtype IntervalIndex Period PeriodDtype PeriodIndex RangeIndex Series
  SparseDtype StringDtype DateOffset Grouper NamedAgg MultiIndex DatetimeIndex TimedeltaIndex
  Timestamp Timedelta NA Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype
  UInt32Dtype UInt64Dtype Float32Dtype Float64Dtype BooleanDtype
pandas.arrays: ArrowExtensionArray ArrowStringArray DatetimeArray StringArray IntegerArray
  IntervalArray BooleanArray FloatingArray NumpyExtensionArray PeriodArray SparseArray
  TimedeltaArray
pandas._libs.arrays: __pyx_unpickle_NDArrayBacked
pandas._libs.internals: _unpickle_block
pandas._libs.sparse: BlockIndex IntIndex
pandas._libs.tslibs.nattype: _nat_unpickle
pandas._libs.interval: __pyx_unpickle_IntervalMixin
pandas._libs.tslibs.offsets: BQuarterBegin BQuarterEnd BYearBegin BYearEnd BusinessDay BusinessHour
  BusinessMonthBegin BusinessMonthEnd CustomBusinessDay CustomBusinessHour
  CustomBusinessMonthBegin CustomBusinessMonthEnd DateOffset Day Easter FY5253 FY5253Quarter Hour
  LastWeekOfMonth Micro Milli Minute MonthBegin MonthEnd Nano QuarterBegin QuarterEnd Second
  SemiMonthBegin SemiMonthEnd Week WeekOfMonth YearBegin YearEnd
pandas._libs.tslibs.timedeltas: _timedelta_unpickle
pandas._libs.tslibs.timestamps: _unpickle_timestamp
pandas.core.arrays.categorical: Categorical
pandas.core.arrays.datetimes: DatetimeArray
pandas.core.arrays.timedeltas: TimedeltaArray
pandas.core.dtypes.dtypes: CategoricalDtype DatetimeTZDtype IntervalDtype NumpyEADtype PeriodDtype
  SparseDtype
pandas.core.frame: DataFrame
pandas.core.series: Series
pandas.core.indexes.base: _new_Index Index
pandas.core.indexes.category: CategoricalIndex
pandas.core.indexes.datetimes: _new_DatetimeIndex DatetimeIndex
pandas.core.indexes.interval: _new_IntervalIndex
pandas.core.indexes.multi: MultiIndex
pandas.core.indexes.numeric: Float64Index Int64Index UInt64Index
pandas.core.indexes.period: _new_PeriodIndex
pandas.core.indexes.range: RangeIndex
pandas.core.indexes.timedeltas: _new_TimedeltaIndex
pandas.core.internals.blocks: new_block
pandas.core.internals.managers: BlockManager SingleBlockManager
pyarrow.lib: _restore_array py_buffer type_for_alias
"""

# Functions that a model keeps to call them with its data later. No stream calls them: with arrays
# that share a shape some would fill the memory.
_KEPT = """
builtins: sum abs round any all
math: ceil cos exp expm1 fabs floor log log10 log1p log2 sin sqrt tan tanh
numpy: add subtract multiply divide true_divide floor_divide power float_power mod remainder
  negative
  positive reciprocal sign rint floor ceil trunc exp2 logaddexp logaddexp2 sin cos tan arcsin arccos
  arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh deg2rad rad2deg hypot maximum minimum fmax
  fmin isnan isfinite isinf logical_and logical_or logical_not logical_xor equal not_equal greater
  greater_equal less less_equal array ascontiguousarray asfortranarray atleast_1d atleast_2d clip
  concatenate cumprod cumsum diff hstack vstack stack column_stack nan_to_num nanmax nanmean
  nanmedian nanmin nanstd nansum nanvar percentile quantile prod ravel reshape round around squeeze
  transpose expand_dims argmax argmin argsort sort unique cov corrcoef dot matmul where
"""

# Classes that a stream makes without arguments, and gives a state: their constructors compute, call
# methods of what they get, or read a file.
_STATED = """
argparse: Namespace
types: SimpleNamespace
scipy.spatial.transform._rotation: Rotation
scipy.interpolate._cubic: Akima1DInterpolator CubicHermiteSpline CubicSpline PchipInterpolator
scipy.interpolate._ndgriddata: NearestNDInterpolator
scipy.interpolate._polyint: BarycentricInterpolator KroghInterpolator
scipy.interpolate._rbfinterp: RBFInterpolator
scipy.interpolate._rgi: RegularGridInterpolator
scipy.stats._kde: gaussian_kde
torch.distributions.bernoulli: Bernoulli
torch.distributions.beta: Beta
torch.distributions.categorical: Categorical
torch.distributions.gamma: Gamma
torch.distributions.multivariate_normal: MultivariateNormal
torch.distributions.normal: Normal
torch.distributions.uniform: Uniform
torch.nn.parallel.data_parallel: DataParallel
torch.nn.utils.prune: CustomFromMask Identity L1Unstructured LnStructured PruningContainer
  RandomStructured RandomUnstructured
torch.nn.utils.spectral_norm: SpectralNormLoadStateDictPreHook SpectralNormStateDictHook
torch.optim: Adafactor Muon
torch.optim.lr_scheduler: ChainedScheduler ConstantLR CosineAnnealingLR CosineAnnealingWarmRestarts
  CyclicLR ExponentialLR LinearLR MultiStepLR OneCycleLR PolynomialLR ReduceLROnPlateau
  SequentialLR StepLR
torch.optim.swa_utils: AveragedModel
"""

_BOOST = """
xgboost.core: Booster
xgboost.sklearn: XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor XGBModel
lightgbm.basic: Booster
lightgbm.sklearn: LGBMClassifier LGBMRegressor LGBMRanker LGBMModel
"""

_TORCH = """
torch: FloatStorage DoubleStorage HalfStorage BFloat16Storage LongStorage IntStorage ShortStorage
  CharStorage ByteStorage BoolStorage ComplexFloatStorage ComplexDoubleStorage QInt8Storage
  QUInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage Size device dtype
  Tensor float16 float32 float64 bfloat16 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool
  complex64 complex128 float8_e4m3fn float8_e5m2
  float8_e4m3fnuz float8_e5m2fnuz per_tensor_affine per_channel_affine
  per_tensor_symmetric per_channel_symmetric strided qint8 quint8 qint32 quint4x2 complex32
  float8_e8m0fnu float4_e2m1fn_x2 bits8 bits16
torch.return_types: max min sort topk mode median nanmedian kthvalue cummax cummin
torch.optim.adadelta: Adadelta
torch.optim.adagrad: Adagrad
torch.optim.adam: Adam
torch.optim.adamax: Adamax
torch.optim.adamw: AdamW
torch.optim.asgd: ASGD
torch.optim.lbfgs: LBFGS
torch.optim.nadam: NAdam
torch.optim.radam: RAdam
torch.optim.rmsprop: RMSprop
torch.optim.rprop: Rprop
torch.optim.sgd: SGD
torch.optim.sparse_adam: SparseAdam
torch.optim.lr_scheduler: CyclicLR._exp_range_scale_fn CyclicLR._triangular2_scale_fn
  CyclicLR._triangular_scale_fn
torch.utils.data.dataset: ConcatDataset StackDataset Subset TensorDataset
torch.nn.utils.rnn: PackedSequence
torch.nn.utils.weight_norm: WeightNorm
torch.nn.utils.spectral_norm: SpectralNorm
torch.storage: UntypedStorage TypedStorage
torch._utils: _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter
  _rebuild_sparse_tensor _rebuild_nested_tensor
torch._tensor: _rebuild_from_type_v2
torch._utils: _rebuild_qtensor _rebuild_meta_tensor_no_storage _rebuild_parameter_with_state
torch.nn.parameter: Parameter Buffer
torch.serialization: _get_layout
torch.jit._pickle: build_tensorlist build_intlist build_doublelist build_boollist
  build_tensor_from_id restore_type_tag
torch.nn.modules.activation: CELU ELU GELU GLU Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid
  LogSoftmax MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Mish Sigmoid Softmax Softmax2d
  Softmin Softplus Softshrink Softsign Tanh Tanhshrink Threshold Hardshrink
torch.nn.modules.adaptive: AdaptiveLogSoftmaxWithLoss
torch.nn.modules.batchnorm: BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm
torch.nn.modules.channelshuffle: ChannelShuffle
torch.nn.modules.container: Container ModuleDict ModuleList ParameterDict ParameterList Sequential
torch.nn.modules.conv: Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
torch.nn.modules.distance: CosineSimilarity PairwiseDistance
torch.nn.modules.dropout: AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout
torch.nn.modules.flatten: Flatten Unflatten
torch.nn.modules.fold: Fold Unfold
torch.nn.modules.instancenorm: InstanceNorm1d InstanceNorm2d InstanceNorm3d
torch.nn.modules.linear: Bilinear Identity Linear NonDynamicallyQuantizableLinear
torch.nn.modules.loss: BCELoss BCEWithLogitsLoss CTCLoss CosineEmbeddingLoss CrossEntropyLoss
  GaussianNLLLoss HingeEmbeddingLoss HuberLoss KLDivLoss L1Loss MSELoss MarginRankingLoss
  LinearCrossEntropyLoss MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss
  NLLLoss2d PoissonNLLLoss SmoothL1Loss SoftMarginLoss TripletMarginLoss
  TripletMarginWithDistanceLoss
torch.nn.modules.normalization: CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm
torch.nn.modules.padding: CircularPad1d CircularPad2d CircularPad3d ConstantPad1d ConstantPad2d
  ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d ReplicationPad2d
  ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d
torch.nn.modules.pixelshuffle: PixelShuffle PixelUnshuffle
torch.nn.modules.pooling: AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d
  AdaptiveMaxPool2d AdaptiveMaxPool3d AvgPool1d AvgPool2d AvgPool3d FractionalMaxPool2d
  FractionalMaxPool3d LPPool1d LPPool2d LPPool3d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d
  MaxUnpool2d MaxUnpool3d
torch.nn.modules.rnn: GRU GRUCell LSTM LSTMCell RNN RNNCell
torch.nn.modules.sparse: Embedding EmbeddingBag
torch.nn.modules.transformer: Transformer TransformerDecoder TransformerDecoderLayer
  TransformerEncoder TransformerEncoderLayer
torch.nn.modules.upsampling: Upsample UpsamplingBilinear2d UpsamplingNearest2d
torch.nn.functional: celu cross_entropy elu glu hardsigmoid hardswish hardtanh leaky_relu
  log_softmax
  mish mse_loss relu relu6 selu sigmoid silu softmax softsign tanh
torch._C._nn: gelu log_sigmoid softplus
"""

# Names that run code, reach files, processes or the network, or unpickle. They only turn
# `suspicious` into `malicious`; a name on neither list is refused all the same.
_DANGEROUS = frozenset(
    """
    os posix nt ntpath posixpath subprocess _posixsubprocess sys pty tty commands popen2 shutil
    socket _socket ssl select selectors socketserver urllib http httplib urllib2 requests httpx
    aiohttp ftplib smtplib telnetlib poplib imaplib nntplib xmlrpc webbrowser antigravity runpy
    code codeop importlib _frozen_importlib _frozen_importlib_external imp pkgutil zipimport
    ctypes _ctypes cffi multiprocessing concurrent threading _thread asyncio signal atexit sched
    pdb bdb cProfile profile timeit trace doctest unittest pydoc idlelib lib2to3 test venv
    ensurepip pip setuptools distutils sysconfig site types marshal pickle _pickle cPickle shelve
    dill cloudpickle operator _operator functools itertools tempfile glob fileinput io _io
    codecs gzip bz2 lzma zipfile tarfile sqlite3 _sqlite3 dbm builtins inspect linecache tokenize
    ast gc mmap fcntl platform resource logging logfile readline rlcompleter cgi cgitb wsgiref
    getpass uuid._popen nturl2path numpy.f2py numpy.testing numpy.distutils numpy.load torch.load
    torch.hub torch._dynamo torch.utils joblib.numpy_pickle_utils joblib.load keras tensorflow
    IPython paramiko fabric invoke sh pexpect psutil jinja2 mako yaml pytest _pytest aiofiles
    """.split()  # noqa: SIM905 - a table of names, read as a table
)  # fmt: skip

_OLD_NAMES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "UserDict": "collections",
    "UserList": "collections",
    "UserString": "collections",
    "exceptions": "builtins",
    "urlparse": "urllib.parse",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "sklearn.externals.joblib.numpy_pickle": "joblib.numpy_pickle",
}
_OLD_BUILTINS = {"xrange": "range", "unicode": "str", "long": "int"}
_OLD_CLASSES = {"IterableUserDict": "UserDict"}
_BYTES_CODECS = ("latin1", "latin-1", "iso-8859-1", "utf-8", "ascii")


def _parse(table: str) -> frozenset[tuple[str, str]]:
    joined = table.strip().replace("\n  ", " ")
    pairs: set[tuple[str, str]] = set()
    for line in joined.splitlines():
        module, names = line.split(": ", 1)
        pairs.update((module, name) for name in names.split())
    return frozenset(pairs)


_KEPT_NAMES = _parse(_KEPT)
_STATE_ONLY = _parse(_BOOST) | _parse(_STATED)
ALLOWED = (
    _parse(_PYTHON) | _parse(_NUMPY) | _parse(_BOOST) | _parse(_TORCH) | _parse(SKLEARN)
    | _KEPT_NAMES | _STATE_ONLY
)  # fmt: skip


def current_name(module: str, name: str) -> tuple[str, str]:
    """Map the names of Python 2 and of older libraries to those in the list."""
    current = _OLD_NAMES.get(module, module)
    if module == "__builtin__":
        name = _OLD_BUILTINS.get(name, name)
    elif module == "UserDict":
        name = _OLD_CLASSES.get(name, name)
    return current, name


def is_allowed(module: str, name: str) -> bool:
    """Whether a stream may import, call and keep this name."""
    return current_name(module, name) in ALLOWED


def is_dangerous(module: str, name: str) -> bool:
    """Whether the name is known to run code or to reach outside the process."""
    module, name = current_name(module, name)
    parts = f"{module}.{name}".split(".")
    return any(".".join(parts[:count]) in _DANGEROUS for count in range(1, len(parts) + 1)) or any(
        part in ("os", "sys", "subprocess", "builtins") or part.startswith("__")
        for part in parts[1:]
    )


def are_safe_arguments(module: str, name: str, arguments: tuple[object, ...] | None) -> bool:
    """Whether an allowed callable gets arguments that leave it harmless.

    Boosters read a file when called with one, so they are only made empty and given a state; they
    must not hide behind a constructor that calls another either.
    """
    current = current_name(module, name)
    if current in _KEPT_NAMES:
        return False
    if current in _STATE_ONLY:
        return arguments == ()
    if arguments is None:
        return current not in _CALLERS and current not in SIZED
    if current in SIZED:
        return not _any_above(arguments, _MAX_SIZE)
    if current == ("_codecs", "encode"):
        return len(arguments) == 2 and arguments[1] in _BYTES_CODECS  # noqa: PLR2004 - text, codec
    if current == ("copyreg", "_reconstructor"):
        base = arguments[1] if len(arguments) == 3 else None  # noqa: PLR2004 - class, base, state
        return isinstance(base, Global) and current_name(base.module, base.name)[0] == "builtins"
    if current == ("copyreg", "__newobj__"):
        return len(arguments) == 1
    if current == REBUILD_TYPE:
        named = [(a.module, a.name) if isinstance(a, Global) else None for a in arguments[:2]]
        return len(arguments) == 4 and named[0] in _REBUILD and named[1] in _TENSORS  # noqa: PLR2004 - function, type, arguments, state
    if current in _CALLERS:
        return all(
            current_name(argument.module, argument.name)[0].startswith("numpy.random.")
            for argument in arguments
            if isinstance(argument, Global)
        )
    return True


def is_plain_partial(
    module: str, name: str, arguments: tuple[object, ...] | None, states: tuple[object, ...]
) -> bool:
    """Whether a call makes the one partial call that passes: scikit-learn's check of arrays.

    Gradient boosting keeps it; `functools.partial` of anything else could be anything.
    """
    if (module, name) != PARTIAL or arguments is None or len(arguments) != 1:
        return False
    kept = [arguments[0], *(s[0] if isinstance(s, tuple) and s else None for s in states)]
    return all(isinstance(k, Global) and (k.module, k.name) == _CHECK for k in kept)


PARTIAL = ("functools", "partial")
_CHECK = ("sklearn.utils.validation", "check_array")


def _any_above(values: tuple[object, ...], limit: int) -> bool:
    return any(
        _any_above(value, limit) if isinstance(value, tuple)
        else isinstance(value, int) and abs(value) > limit
        for value in values
    )  # fmt: skip


# A number makes these as large as it says: a stream of some bytes would fill the memory.
SIZED = frozenset({*(("builtins", name) for name in ("bytes", "bytearray", "range")),
    ("numpy", "ndarray"), ("numpy.char", "chararray"),
    ("numpy._core.multiarray", "_reconstruct")})  # fmt: skip
_MAX_SIZE = 1 << 30
REBUILD_TYPE = ("torch._tensor", "_rebuild_from_type_v2")
# What `REBUILD_TYPE` may call, and the class it may give to what that returns.
_REBUILD = frozenset(
    ("torch._utils", f"_rebuild_{name}")
    for name in (
        "tensor", "tensor_v2", "tensor_v3", "parameter", "qtensor", "sparse_tensor",
        "nested_tensor", "meta_tensor_no_storage",
    )
)  # fmt: skip
_TENSORS = frozenset(
    {("torch", "Tensor"), ("torch.nn.parameter", "Buffer"), ("torch.nn.parameter", "Parameter")}
)
_CALLERS = frozenset(
    ("numpy.random._pickle", name)
    for name in ("__generator_ctor", "__bit_generator_ctor", "__randomstate_ctor")
) | {REBUILD_TYPE}
