"""What an unchanged client of KServe does; run by its own interpreter, which has it.

Arguments: base URL, endpoint, CA file. The key is in the environment's KEY.
"""

import asyncio
import json
import os
import ssl
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(base: str, endpoint: str, ca_file: str) -> dict[str, object]:
    """Ask what the protocol has, and for two predictions."""
    config = RESTConfig(protocol="v2", verify=ssl.create_default_context(cafile=ca_file))
    client = InferenceRESTClient(config)
    headers = {"authorization": f"Bearer {os.environ['KEY']}"}
    rows = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], dtype=np.float32)
    given = InferInput(name="x", shape=[2, 4], datatype="FP32")
    given.set_data_from_numpy(rows, binary_data=False)
    answer = await client.infer(
        base,
        InferRequest(model_name=endpoint, infer_inputs=[given]),
        model_name=endpoint,
        headers=headers,
    )
    (output,) = answer.outputs
    return {
        "live": await client.is_server_live(base, headers=headers),
        "ready": await client.is_server_ready(base, headers=headers),
        "model": await client.is_model_ready(base, endpoint, headers=headers),
        "name": output.name,
        "shape": list(output.shape),
        "data": np.asarray(output.as_numpy()).ravel().tolist(),
    }


json.dump(asyncio.run(main(*sys.argv[1:])), sys.stdout)
