"""Files of XGBoost and LightGBM, opened by their own libraries inside the sandbox."""

import re
from typing import Any, Self

import numpy as np

from vallum.base import InputError
from vallum.convert.kind import Original, names_of
from vallum.convert.thresholds import rounded_booster

_CLASSIFIES = ("binary:", "multi:")


def open_xgboost(payload: bytes) -> Any:
    """Open XGBoost's JSON or UBJSON as the estimator that answers as it did.

    Raises:
        InputError: It is no such file.
    """
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(payload))
        told = booster.save_config()
    except xgboost.core.XGBoostError as error:
        raise InputError("the file is no XGBoost model", code="convert.load") from error
    found = re.search(r'"objective"\s*:\s*\{\s*"name"\s*:\s*"([a-z:_0-9]{1,60})"', told)
    objective = found[1] if found else ""
    classifies = objective.startswith(_CLASSIFIES)
    made = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    made.load_model(bytearray(payload))
    return made


class LightGbm(Original):
    """LightGBM's own booster, which says its objective and no class names."""

    def __init__(self, booster: Any) -> None:
        """Look at `booster`."""
        self._booster = booster
        found = re.search(r"^objective=(\w+)", booster.model_to_string(), re.MULTILINE)
        objective = found[1] if found else "regression"
        count = {"binary": 2, "multiclass": booster.num_model_per_iteration()}.get(objective, 0)
        self.name = f"lightgbm.Booster ({objective[:40]})"
        self.classes = tuple(str(one) for one in range(count))
        self.scored = True
        names = names_of(booster.feature_name())
        generic = names == tuple(f"Column_{at}" for at in range(len(names)))
        self.features = () if generic else names
        self.width = int(booster.num_feature())

    @classmethod
    def read(cls, payload: bytes) -> Self:
        """Open LightGBM's text.

        Raises:
            InputError: It is no such file.
        """
        import lightgbm

        try:
            return cls(lightgbm.Booster(model_str=payload.decode()))
        except (UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
            raise InputError("the file is no LightGBM model", code="convert.load") from error

    def export(self) -> Any:
        """Return it as ONNX over one matrix of float32."""
        from onnxmltools.convert import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        return convert_lightgbm(
            rounded_booster(self._booster),
            initial_types=[("x", FloatTensorType([None, self.width]))],
            zipmap=False,
            target_opset=13,
        )

    def answer(self, x: "np.ndarray[Any, Any]") -> tuple[Any, Any]:
        """Return labels and probabilities, or the numbers of a regression."""
        told = np.asarray(self._booster.predict(x, num_threads=1))
        if not self.classes:
            return None, told
        scores = np.stack([1 - told, told], axis=1) if told.ndim == 1 else told
        return scores.argmax(axis=1), scores
