"""Estimators and pipelines with scikit-learn's interface, XGBoost's and LightGBM's too."""

import copy
from typing import Any

import numpy as np

from vallum.base import InputError
from vallum.convert.kind import Original, class_names, names_of
from vallum.convert.outputs import take_float32
from vallum.convert.thresholds import round_thresholds

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""What every ONNX Runtime of the last years runs."""
_DOUBLE = 11  # of TensorProto


class Estimator(Original):
    """One fitted estimator, or a pipeline that ends with one."""

    def __init__(self, model: Any) -> None:
        """Look at `model`.

        Raises:
            InputError: It was not fitted, or is of a form that no matrix of numbers fits.
        """
        self._model = model
        workers = [name for name in model.get_params() if name.endswith("n_jobs")]
        model.set_params(**dict.fromkeys(workers, 1))
        last = model.steps[-1][1] if hasattr(model, "steps") else model
        self.name = f"{type(last).__module__.partition('.')[0]}.{type(last).__qualname__}"
        if last is not model:
            self.name = f"{type(model).__module__.partition('.')[0]}: {self.name} in a pipeline"
        self.classes = class_names(model.classes_) if hasattr(model, "classes_") else ()
        self.exact = not (hasattr(last, "_predictors") or hasattr(last, "booster_"))
        self.scored = not self.classes or hasattr(model, "predict_proba")
        self.features = names_of(getattr(model, "feature_names_in_", None))
        width = getattr(model, "n_features_in_", None)
        if width is None:
            raise InputError(
                "the model does not say how many columns it takes: it was not fitted",
                code="convert.model",
            )
        self.width = int(width)
        self._named = _by_name(model)

    def export(self) -> Any:
        """Return it as ONNX over one matrix of float32."""
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

        _register()
        tell_no_booleans()
        model = copy.deepcopy(self._model)
        if self._named:
            _by_place(model, self.features)
        round_thresholds(model)
        if hasattr(model, "steps") and len(model.steps) > 1:
            try:
                return self._written(_doubled(model), DoubleTensorType)
            except Exception:  # noqa: BLE001, S110 - some transformers have no float64 in ONNX
                pass
        return self._written(model, FloatTensorType)

    def _written(self, model: Any, type_: Any) -> Any:
        """Return `model` as ONNX over one matrix of `type_`, as float32, if it runs."""
        import onnxruntime as ort
        from skl2onnx import convert_sklearn

        options = {id(model): {"zipmap": False}} if self.classes and self.scored else None
        made = convert_sklearn(
            model,
            initial_types=[("x", type_([None, self.width]))],
            target_opset=OPSETS,
            options=options,
        )
        if made.graph.input[0].type.tensor_type.elem_type == _DOUBLE:
            take_float32(made)
        quiet = ort.SessionOptions()
        quiet.log_severity_level = 4
        ort.InferenceSession(made.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
        return made

    def answer(self, x: "np.ndarray[Any, Any]") -> tuple[Any, Any]:
        """Return labels and probabilities, or the numbers of a regression."""
        given: Any = x
        if self._named:
            import polars as pl

            given = pl.DataFrame(x, schema=list(self.features))
        if not self.classes:
            return None, self._model.predict(given)
        return (
            self._model.predict(given),
            self._model.predict_proba(given) if self.scored else None,
        )


def _doubled(pipeline: Any) -> Any:
    """Return a pipeline that computes in float64 up to its last step, as scikit-learn does.

    Trees take float32 there, too. A scaling in float32 would move rows over thresholds wherever a
    threshold is a value that the data has, as the middle between two whole numbers often is.
    """
    from skl2onnx.sklapi import CastTransformer
    from sklearn.pipeline import Pipeline

    *before, last = pipeline.steps
    cast = CastTransformer(dtype=np.float32).fit(np.zeros((1, 1)))
    return Pipeline([*before, ("float32", cast), last])


def _by_name(model: Any) -> bool:
    """Tell whether a step selects columns by name: it then takes tables, not matrices."""
    return any(
        isinstance(columns, str) or any(isinstance(one, str) for one in _list(columns))
        for step in _selectors(model)
        for _, _, columns in step.transformers_
    )


def _list(columns: Any) -> list[Any]:
    return list(columns) if isinstance(columns, list | tuple | np.ndarray) else []


def _selectors(model: Any) -> list[Any]:
    first = model.steps[0][1] if hasattr(model, "steps") else model
    if hasattr(first, "steps"):
        return _selectors(first)
    return [first] if hasattr(first, "transformers_") else []


def _by_place(model: Any, features: tuple[str, ...]) -> None:
    """Replace names of columns by their places, in a copy: its input is one matrix."""
    place = {name: at for at, name in enumerate(features)}
    for step in _selectors(model):
        step.transformers_ = [
            (
                name,
                part,
                [place[columns]]
                if isinstance(columns, str)
                else [place[one] if isinstance(one, str) else one for one in columns]
                if _list(columns)
                else columns,
            )
            for name, part, columns in step.transformers_
        ]


def register_imputer() -> None:
    """Tell skl2onnx how to fill gaps in float64, which ONNX's own operator cannot."""
    from skl2onnx import update_registered_converter
    from skl2onnx.operator_converters.imputer_op import convert_sklearn_imputer
    from skl2onnx.shape_calculators.imputer import calculate_sklearn_imputer_output_shapes
    from sklearn.impute import SimpleImputer

    def fill(scope: Any, operator: Any, container: Any) -> None:
        model, given = operator.raw_operator, operator.inputs[0]
        filled = np.asarray(model.statistics_)
        plain = (
            isinstance(model.missing_values, float)
            and np.isnan(model.missing_values)
            and not model.add_indicator
            and filled.dtype.kind == "f"
            and np.isfinite(filled).all()
        )
        if not plain:
            convert_sklearn_imputer(scope, operator, container)
            return
        double = type(given.type).__name__ == "DoubleTensorType"
        gaps, values = (scope.get_unique_variable_name(one) for one in ("gaps", "filled"))
        container.add_initializer(values, _DOUBLE if double else 1, [1, len(filled)], filled)
        container.add_node("IsNaN", [given.full_name], [gaps], op_version=13,
                           name=scope.get_unique_operator_name("IsNaN"))  # fmt: skip
        container.add_node(
            "Where", [gaps, values, given.full_name], [operator.outputs[0].full_name],
            op_version=16, name=scope.get_unique_operator_name("Where"),
        )  # fmt: skip

    update_registered_converter(
        SimpleImputer, "SklearnSimpleImputer", calculate_sklearn_imputer_output_shapes, fill,
        overwrite=True,
    )  # fmt: skip


def tell_no_booleans() -> None:
    """Let onnx take truth values in a list of integers, which protobuf 7 refuses.

    skl2onnx 1.20 writes `nodes_missing_value_tracks_true` of histogram trees with some.
    """
    from onnx import helper

    plain = helper.make_attribute
    if getattr(plain, "takes_booleans", False):
        return

    def make_attribute(key: str, value: Any, *more: Any, **named: Any) -> Any:
        if isinstance(value, list):
            value = [int(one) if isinstance(one, bool | np.bool_) else one for one in value]
        return plain(key, value, *more, **named)

    make_attribute.takes_booleans = True  # type: ignore[attr-defined]  # a mark of ours
    helper.make_attribute = make_attribute


def _register() -> None:
    """Tell skl2onnx how the other libraries' estimators are converted, where they are there."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes as classified,
    )
    from skl2onnx.common.shape_calculator import (
        calculate_linear_regressor_output_shapes as regressed,
    )

    register_imputer()
    choices = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    try:
        import lightgbm
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
    except ImportError:
        pass
    else:
        update_registered_converter(
            lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", classified, convert_lightgbm,
            options=choices,
        )  # fmt: skip
        update_registered_converter(
            lightgbm.LGBMRegressor, "LgbmRegressor", regressed, convert_lightgbm,
            options={"split": None},
        )  # fmt: skip
    try:
        import xgboost
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    except ImportError:
        return
    for name in ("XGBClassifier", "XGBRFClassifier"):
        update_registered_converter(
            getattr(xgboost, name), f"XGBoost{name}", classified, convert_xgboost, options=choices
        )
    for name in ("XGBRegressor", "XGBRFRegressor"):
        update_registered_converter(
            getattr(xgboost, name), f"XGBoost{name}", regressed, convert_xgboost
        )
