"""Models made into ONNX in a sandbox, and the difference that it makes, measured."""

from vallum.convert.convert import LIMITS, Converted, Sample, Source, convert
from vallum.convert.folder import ModelFolder, read_folder, with_onnx
from vallum.convert.original import KINDS
from vallum.convert.recognize import kind_of, may_be_suspicious
from vallum.convert.report import ConversionReport, Difference, Tolerance

__all__ = [
    "KINDS",
    "LIMITS",
    "ConversionReport",
    "Converted",
    "Difference",
    "ModelFolder",
    "Sample",
    "Source",
    "Tolerance",
    "convert",
    "kind_of",
    "may_be_suspicious",
    "read_folder",
    "with_onnx",
]
