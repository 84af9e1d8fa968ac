"""Serve one ONNX model with another server, on loopback, for `serving_peers.py`.

    FOLDER/bin/python benchmarks/peers/serve.py fastapi|mlserver|bentoml|mlflow MODEL PORT WORK

Runs in the environment of that server, not in ours; nothing here is imported by Vallum. Each is set
up as its manual says, with what makes it cheap: one worker, no access log, no metrics, one thread
of ONNX Runtime, and for MLServer no process between the server and the model.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

BENTO = """
import bentoml
import numpy as np
import onnxruntime as ort

@bentoml.service(workers=1, logging={{"access": {{"enabled": False}}}},
                 metrics={{"enabled": False}}, tracing={{"sample_rate": 0.0}})
class Score:
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession({model!r}, options, providers=["CPUExecutionProvider"])

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {{"x": x.astype(np.float32)}})[0]
"""
ML = """
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

class Score(MLModel):
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(self.settings.parameters.uri, options,
                                            providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        (scores,) = self.session.run(None, {"x": x})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", scores)]
        )
"""


def fastapi(model: Path, port: int, work: Path) -> None:
    import numpy as np
    import onnxruntime as ort
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    class Question(BaseModel):
        inputs: list[list[float]]

    class Told(BaseModel):
        outputs: list[list[float]]

    async def score(question: Question) -> Told:
        (scores,) = session.run(None, {"x": np.array(question.inputs, dtype=np.float32)})
        return Told(outputs=scores.tolist())

    app.post("/score")(score)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def mlserver(model: Path, port: int, work: Path) -> None:
    (work / "score.py").write_text(ML)
    (work / "settings.json").write_text(json.dumps({
        "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
        "metrics_endpoint": None, "parallel_workers": 0, "debug": False,
    }))  # fmt: skip
    (work / "model-settings.json").write_text(json.dumps({
        "name": "m", "implementation": "score.Score", "parameters": {"uri": str(model)},
    }))  # fmt: skip
    os.chdir(work)
    run("mlserver", "start", ".")


def bentoml(model: Path, port: int, work: Path) -> None:
    (work / "service.py").write_text(BENTO.format(model=str(model)))
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.environ["BENTOML_HOME"] = str(work)
    os.chdir(work)
    run("bentoml", "serve", "service:Score", "--host", "127.0.0.1", "--port", str(port))


def mlflow(model: Path, port: int, work: Path) -> None:
    import mlflow.onnx
    import onnx

    saved: Any = work / "saved"
    mlflow.onnx.save_model(onnx.load(model), saved, onnx_session_options={
        "intra_op_num_threads": 1, "inter_op_num_threads": 1, "execution_mode": "sequential",
    })  # fmt: skip
    run("mlflow", "models", "serve", "-m", str(saved), "-h", "127.0.0.1", "-p", str(port),
        "--env-manager", "local", "--workers", "1")  # fmt: skip


def run(program: str, *arguments: str) -> None:
    """Become another program of this environment."""
    folder = Path(sys.executable).parent
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
    os.execv(folder / program, [program, *arguments])


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
