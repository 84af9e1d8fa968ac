"""Keras model configurations: every class that they name must be one that only computes.

Source: keras 3 `saving/serialization_lib.py`; CVE-2024-3660, CVE-2025-1550, CVE-2025-8747,
CVE-2025-9905 for what a configuration can reach.
"""

import re
from typing import Any

from vallum.scan.report import Findings

_ATLAS = "AML.T0011.000"
_MODULES = re.compile(
    r"^(keras|tf_keras|tensorflow\.keras|keras\.(src\.)?(layers|models|initializers|optimizers|"
    r"losses|metrics|regularizers|constraints|activations|engine|dtype_policies|backend)"
    r"(\.[a-z_0-9]+)*)$"
)
# Operations on tensors, which a functional model holds as layers; not `ops.core`, which maps
# functions, nor `ops.image`.
_OPERATIONS = re.compile(r"^keras\.src\.ops\.(numpy|nn|math)$")
_DANGEROUS = frozenset(
    """Lambda TFSMLayer TorchModuleWrapper FlaxLayer JaxLayer function __lambda__ LambdaCallback
    PyFunc Function""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_CLASSES = frozenset(
    """Sequential Functional Model InputLayer Dense EinsumDense Embedding Masking Activation
    Identity Conv1D Conv2D Conv3D SeparableConv1D SeparableConv2D DepthwiseConv1D DepthwiseConv2D
    Conv1DTranspose Conv2DTranspose Conv3DTranspose MaxPooling1D MaxPooling2D MaxPooling3D
    AveragePooling1D AveragePooling2D AveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    LSTM GRU SimpleRNN LSTMCell GRUCell SimpleRNNCell RNN StackedRNNCells TimeDistributed
    Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D Normalization BatchNormalization
    LayerNormalization UnitNormalization GroupNormalization SpectralNormalization Dropout
    SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianDropout GaussianNoise AlphaDropout
    ActivityRegularization MultiHeadAttention Attention AdditiveAttention GroupQueryAttention
    Reshape Flatten RepeatVector Permute Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D
    UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D Concatenate Average Maximum Minimum Add
    Subtract Multiply Dot ReLU Softmax LeakyReLU PReLU ELU ThresholdedReLU Rescaling Resizing
    CenterCrop RandomFlip RandomRotation RandomZoom CategoryEncoding Discretization
    Zeros Ones Constant RandomNormal RandomUniform TruncatedNormal VarianceScaling GlorotNormal
    GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Orthogonal IdentityInitializer
    OrthogonalInitializer L1 L2 L1L2 MaxNorm NonNeg UnitNorm MinMaxNorm Adam AdamW Adamax Adagrad
    Adadelta Nadam RMSprop SGD Ftrl Lion MeanSquaredError MeanAbsoluteError BinaryCrossentropy
    CategoricalCrossentropy SparseCategoricalCrossentropy Huber Mean Accuracy BinaryAccuracy
    CategoricalAccuracy SparseCategoricalAccuracy AUC Precision Recall MeanMetricWrapper
    DTypePolicy FloatDTypePolicy Policy ExponentialDecay CosineDecay __keras_tensor__ __tensor__
    __numpy__ __tuple__ __slice__ __ellipsis__ TensorShape AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D AutoContrast CutMix Equalization HashedCrossing Hashing IntegerLookup
    MelSpectrogram MixUp Pipeline RMSNormalization RandAugment RandomBrightness RandomColorJitter
    RandomContrast RandomCrop RandomErasing RandomGaussianBlur RandomGrayscale RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomSaturation RandomSharpness RandomShear
    RandomTranslation ReversibleEmbedding STFTSpectrogram Solarization StringLookup
    TextVectorization BinaryFocalCrossentropy CTC CategoricalFocalCrossentropy CategoricalHinge
    Circle CosineSimilarity Dice Hinge KLDivergence LogCosh MeanAbsolutePercentageError
    MeanSquaredLogarithmicError Poisson SquaredHinge Tversky BinaryIoU F1Score FBetaScore
    FalseNegatives FalsePositives IoU LogCoshError MeanIoU OneHotIoU OneHotMeanIoU
    PrecisionAtRecall R2Score RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity
    SparseTopKCategoricalAccuracy SpecificityAtSensitivity Sum TopKCategoricalAccuracy
    TrueNegatives TruePositives Adafactor Lamb LossScaleOptimizer Muon STFTInitializer
    OrthogonalRegularizer PiecewiseConstantDecay PolynomialDecay InverseTimeDecay
    CosineDecayRestarts""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_TENSOR_OPERATIONS = frozenset(
    """Absolute Add All AllClose Angle Any Amax Amin Append Arccos Arccosh Arcsin Arcsinh Arctan
    Arctan2 Arctanh Argmax Argmin Argsort Average BroadcastTo Cbrt Ceil Clip Concatenate Copy Cos
    Cosh CountNonzero Cross Cumprod Cumsum Diag Diagonal Diff Digitize Dot Einsum EmptyLike Equal
    Exp Exp2 ExpandDims Expm1 Flip Floor FloorDivide Full FullLike GetItem Greater GreaterEqual
    Hstack Isclose Isfinite Isinf Isnan Less LessEqual Linspace Log Log10 Log1p Log2 Logaddexp
    LogicalAnd LogicalNot LogicalOr LogicalXor Matmul Max Maximum Mean Median Meshgrid Min Minimum
    Mod Moveaxis NanToNum Ndim Negative Nonzero NotEqual OnesLike Outer Pad Power Prod Quantile
    Ravel Reciprocal Repeat Reshape Roll Round Sign Sin Sinh Size Sort Split Sqrt Square Squeeze
    Stack Std Subtract Multiply Divide DivideNoNan TrueDivide Sum Swapaxes Take TakeAlongAxis Tan
    Tanh Tensordot Tile Trace Transpose Tril Triu Trunc Var Vdot Vstack Where ZerosLike Relu Relu6
    Sigmoid Softplus Softsign SoftShrink Silu LogSigmoid LeakyRelu HardSigmoid HardSilu Elu Selu
    Gelu Celu Glu HardTanh Threshold Softmax LogSoftmax MaxPool AveragePool Conv DepthwiseConv
    SeparableConv ConvTranspose OneHot MultiHot Moments BatchNorm Normalize DotProductAttention
    RMSNorm LayerNorm SegmentSum SegmentMax TopK InTopK Logsumexp Rsqrt Erf Erfinv""".split()  # noqa: SIM905 - a table
)
_WITHOUT_MODULE = _CLASSES | _TENSOR_OPERATIONS  # HDF5 names operations as it names layers
_PLAIN_NAME = re.compile(r"^[a-z][a-z0-9_]{0,63}$")
_NAMED = ("activation", "recurrent_activation", "loss", "function")
_FILES = ("vocabulary", "filepath", "idf_weights", "file_path", "saved_model")


def is_keras_config(value: object) -> bool:
    """Whether a JSON value is a serialised Keras object."""
    return isinstance(value, dict) and "class_name" in value and "config" in value


def scan_keras_config(value: Any, findings: Findings, member: str = "") -> None:  # noqa: ANN401 - parsed JSON
    """Walk a parsed configuration; its depth is bounded by the JSON reader."""
    findings.code_capable = True
    if isinstance(value, list):
        for item in value:
            scan_keras_config(item, findings, member)
    if not isinstance(value, dict):
        return
    if "class_name" in value:
        _judge(value, findings, member)
    for key, item in value.items():
        if key in _NAMED and isinstance(item, str) and not _PLAIN_NAME.match(item):
            _add(findings, "keras.function", f"`{key}` names `{item[:80]}`", member)
        if key in _NAMED and item == "lambda":
            _add(findings, "keras.lambda", f"`{key}` is a lambda", member, "critical")
        if key in _FILES and isinstance(item, str) and item:
            _add(findings, "keras.file", f"`{key}` reads the file `{item[:80]}`", member)
        scan_keras_config(item, findings, member)


def _judge(value: dict[str, Any], findings: Findings, member: str) -> None:
    name, module = value.get("class_name"), value.get("module")
    registered = value.get("registered_name")
    shown = str(name)[:80]
    if isinstance(module, str) and _OPERATIONS.match(module):
        if name not in _TENSOR_OPERATIONS or registered not in (None, "", name):
            _add(findings, "keras.unknown-class", f"the operation `{shown}` of `{module}`", member)
        return
    if name in _DANGEROUS:
        _add(findings, "keras.code", f"the layer `{shown}` carries code", member, "critical")
    elif not isinstance(name, str) or name not in (_CLASSES if module else _WITHOUT_MODULE):
        _add(findings, "keras.unknown-class", f"the class `{shown}` is not on the list", member)
    if module not in (None, "", "builtins") and not (
        isinstance(module, str) and _MODULES.match(module)
    ):
        _add(findings, "keras.module", f"a class of the module `{str(module)[:80]}`", member)
    if module == "builtins" and name not in ("__tuple__", "__tensor__", "__numpy__"):
        _add(findings, "keras.module", f"`{shown}` of Python's builtins", member)
    if registered not in (None, "", name) and registered not in _CLASSES:
        _add(findings, "keras.custom-object", f"the custom object `{str(registered)[:80]}`", member)


def _add(findings: Findings, id_: str, message: str, member: str, severity: str = "high") -> None:
    findings.add(id_, message, severity=severity, member=member, atlas=_ATLAS)
