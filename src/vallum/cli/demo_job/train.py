"""The demo's training job: runs in the sandbox, knows nothing but /in and /out.

Reads the protected table, fits a regularised logistic regression on the measurements and leaves
an ONNX model. No identity column is used, protected or not.
"""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")
job = json.loads(Path("/in/job.json").read_text())
features = job["parameters"]["features"].split(",")
label = job["parameters"]["label"]
with Path("/in/train").open(newline="") as file:
    rows = list(csv.DictReader(file))
x = np.array([[float(row[name]) for name in features] for row in rows], dtype=np.float32)
y = np.array([int(row[label]) for row in rows])
model = make_pipeline(
    StandardScaler(), LogisticRegression(C=float(job["parameters"]["c"]), max_iter=1000)
)
model.fit(x, y)
print(f"trained on {len(y)} records, training accuracy {model.score(x, y):.3f}")
onnx = to_onnx(model, x[:1], options={"zipmap": False}, target_opset=17)
Path("/out/model.onnx").write_bytes(onnx.SerializeToString())
