"""Harmless files of the sixth round: arrays, tensors, estimators for skops, boosters."""

import json
import pickle  # noqa: TID251 - written, never read
import zipfile
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import torch

from held_out.sixth_asm import Loaded
from held_out.sixth_good_tables import stored, through

Row = tuple[str, dict[str, bytes], str]


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2, ensure_ascii=False).encode()


def arrays(rng: np.random.Generator) -> Iterator[Row]:
    plain: dict[str, Any] = {
        "f16": rng.normal(size=(4, 3)).astype("f2"), "u64": np.arange(5, dtype="u8"), "c128": rng.normal(size=4) + 1j, "scalar": np.float64(3.5), "bytes": np.array([b"ab", b"c"]), "text": np.array(["eins", "zwei", "ü"]),
        "big_endian": np.arange(6, dtype=">i4").reshape(2, 3), "records": np.array([(1, 2.0, "a")], dtype=[("i", "i4"), ("f", "f8"), ("s", "U4")]), "subarrays": np.zeros(2, dtype=[("m", "f4", (2, 2)), ("n", [("p", "i1")])]),
        "dates": np.array(["2026-01-01", "2026-02-03"], "datetime64[s]"), "durations": np.array([1, 2], "timedelta64[ms]"), "five_dimensions": np.zeros((1, 2, 1, 2, 1), "f4"), "fortran": np.asfortranarray(rng.normal(size=(3, 5))), "empty": np.zeros((3, 0)), "titles": np.zeros(1, dtype={"names": ["a", "b"], "formats": ["i4", "f8"], "offsets": [0, 8]}),
    }  # fmt: skip
    for name, value in plain.items():
        yield (
            f"{name}.npy",
            {f"{name}.npy": stored(lambda o, v=value: np.save(o, v, allow_pickle=False))},
            "numpy",
        )  # type: ignore[misc]
    yield (
        "version2.npy",
        {"a.npy": stored(lambda o: np.lib.format.write_array(o, np.zeros((3, 2)), version=(2, 0)))},
        "numpy",
    )
    yield (
        "version3.npy",
        {
            "a.npy": stored(
                lambda o: np.lib.format.write_array(
                    o, np.zeros(2, dtype=[("größe", "f4")]), version=(3, 0)
                )
            )
        },
        "numpy",
    )
    yield (
        "layers.npz",
        {
            "a.npz": stored(
                lambda o: np.savez(
                    o, **{f"layer_{i}/kernel": rng.normal(size=(2, i + 1)) for i in range(9)}
                )
            )
        },
        "numpy",
    )  # type: ignore[arg-type]
    yield (
        "positional.npz",
        {"a.npz": stored(lambda o: np.savez_compressed(o, np.zeros(3), np.ones((2, 2), int)))},
        "numpy",
    )
    yield (
        "mixed.npz",
        {
            "a.npz": stored(
                lambda o: np.savez_compressed(
                    o,
                    names=np.array(["a", "b"]),
                    mean=np.float32(0.3),
                    when=np.datetime64("2026-01-01"),
                )
            )
        },
        "numpy",
    )
    import scipy.sparse

    yield (
        "sparse.npz",
        {"a.npz": stored(lambda o: scipy.sparse.save_npz(o, scipy.sparse.csr_matrix(np.eye(5))))},
        "numpy",
    )
    yield (
        "object_strings.npy",
        {
            "a.npy": stored(
                lambda o: np.save(o, np.array(["a", None, 1.5], dtype=object), allow_pickle=True)
            )
        },
        "numpy",
    )
    yield (
        "object_ragged.npy",
        {
            "a.npy": stored(
                lambda o: np.save(
                    o, np.array([np.zeros(2), np.ones(3)], dtype=object), allow_pickle=True
                )
            )
        },
        "numpy",
    )
    yield (
        "open_memmap.npy",
        {
            "a.npy": through(
                lambda p: np.lib.format.open_memmap(p, "w+", "f4", (4, 4)).flush(), ".npy"
            )
        },
        "numpy",
    )


def tensors(rng: np.random.Generator) -> Iterator[Row]:
    from safetensors.numpy import save as of_arrays
    from safetensors.torch import save as of_tensors

    torch.manual_seed(6)
    f4 = "float32"
    yield (
        "lora.safetensors",
        {
            "adapter_model.safetensors": of_arrays(
                {
                    f"base_model.model.layers.{i}.q_proj.lora_{ab}.weight": rng.normal(
                        size=(2, 4)
                    ).astype(f4)
                    for i in range(4)
                    for ab in "AB"
                },
                {"format": "pt"},
            )
        },
        "safetensors",
    )
    yield (
        "bf16.safetensors",
        {
            "bf16.safetensors": of_tensors(
                {
                    "w": torch.ones(3, 2, dtype=torch.bfloat16),
                    "b": torch.zeros(2, dtype=torch.bfloat16),
                }
            )
        },
        "safetensors",
    )
    yield (
        "fp8.safetensors",
        {"fp8.safetensors": of_tensors({"w": torch.ones(4, dtype=torch.float8_e5m2)})},
        "safetensors",
    )
    yield (
        "integers.safetensors",
        {
            "a.safetensors": of_arrays(
                {
                    n: np.arange(2).astype(n)
                    for n in ("int8", "uint8", "int16", "uint16", "int32", "int64", "bool")
                }
            )
        },
        "safetensors",
    )
    yield (
        "scalar_and_empty.safetensors",
        {"a.safetensors": of_arrays({"s": np.array(1.5), "e": np.zeros((0, 3), f4)})},
        "safetensors",
    )
    yield (
        "metadata.safetensors",
        {
            "a.safetensors": of_arrays(
                {"w": np.zeros(4, f4)},
                {
                    "modelspec.title": "Ein Modell",
                    "ss_tag_frequency": json.dumps({"a": {"b": 3}}),
                    "license": "Apache-2.0",
                },
            )
        },
        "safetensors",
    )
    yield (
        "no_tensors.safetensors",
        {"a.safetensors": of_arrays({}, {"format": "np"})},
        "safetensors",
    )
    yield (
        "vae.safetensors",
        {
            "diffusion_pytorch_model.safetensors": of_tensors(
                {f"decoder.up.{i}.conv.weight": torch.randn(2, 2, 3, 3) for i in range(5)},
                {"format": "pt"},
            )
        },
        "safetensors",
    )
    shards = {
        f"model-0000{i}-of-00002.safetensors": of_arrays(
            {f"layer.{i}.weight": np.zeros((2, 2), f4)}, {"format": "pt"}
        )
        for i in (1, 2)
    }
    index = j(
        metadata={"total_size": 32},
        weight_map={f"layer.{i}.weight": f"model-0000{i}-of-00002.safetensors" for i in (1, 2)},
    )
    yield "sharded", {**shards, "model.safetensors.index.json": index}, "folder"


def skops_rows(rng: np.random.Generator) -> Iterator[Row]:
    import skops.io
    from sklearn import (
        cluster,
        decomposition,
        ensemble,
        impute,
        linear_model,
        neighbors,
        pipeline,
        preprocessing,
        tree,
    )

    x = rng.normal(size=(30, 3))
    y = (x[:, 0] > 0).astype(int)
    rows = {
        "ridge": linear_model.RidgeCV().fit(x, x[:, 0]), "extra": ensemble.ExtraTreesRegressor(3, random_state=0).fit(x, y), "kmeans": cluster.KMeans(2, n_init=1, random_state=0).fit(x), "pipe": pipeline.make_pipeline(impute.SimpleImputer(), preprocessing.PowerTransformer(), decomposition.PCA(2), linear_model.SGDClassifier(random_state=0)).fit(x, y),
        "encoder": preprocessing.OneHotEncoder().fit([["a", 1], ["b", 2]]), "knn": neighbors.KNeighborsClassifier(3, algorithm="brute").fit(x, y), "tree": tree.DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y), "hist": ensemble.HistGradientBoostingClassifier(max_iter=3).fit(x, y),
    }  # fmt: skip
    for name, model in rows.items():
        how = zipfile.ZIP_DEFLATED if len(name) % 2 else zipfile.ZIP_STORED
        data = stored(
            lambda o, m=model, how=how: skops.io.dump(m, o, compression=how)  # type: ignore[misc]
        )
        if not skops.io.get_untrusted_types(data=data):  # its own library trusts all of it
            yield f"{name}.skops", {f"{name}.skops": data}, "skops"


def boosters(rng: np.random.Generator) -> Iterator[Row]:
    import lightgbm
    import xgboost

    x = rng.normal(size=(60, 4))
    y = (x[:, 0] > 0).astype(int)
    how: dict[str, Any] = {"nthread": 1, "seed": 1, "max_depth": 3}
    kinds = {
        "rank": {"objective": "rank:pairwise"},
        "multi": {"objective": "multi:softprob", "num_class": 2},
        "dart": {"booster": "dart", "objective": "reg:squarederror"},
        "linear": {"booster": "gblinear"},
        "poisson": {"objective": "count:poisson"},
    }
    for name, more in kinds.items():
        data = xgboost.DMatrix(x, y, feature_names=["a", "b", "c", "d"])
        booster = xgboost.train(how | more, data, 4)
        for ending in ("json", "ubj") if name in ("multi", "dart", "rank") else ("json",):
            yield (
                f"{name}.{ending}",
                {f"{name}.{ending}": bytes(booster.save_raw(ending))},
                "xgboost",
            )
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=1, max_depth=2).fit(x, y)
    yield "xgb.joblib", {"xgb.joblib": stored(lambda o: joblib.dump(model, o))}, "joblib"
    yield (
        "xgb_p4.pkl",
        {
            "xgb.pkl": pickle.dumps(
                xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(x, x[:, 0]), 4
            )
        },
        "pickle",
    )
    quiet: dict[str, Any] = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 3, "seed": 1}
    for name, more in {
        "binary": {"objective": "binary"},
        "goss": {"objective": "l2", "data_sample_strategy": "goss"},
        "multiclass": {"objective": "multiclass", "num_class": 2},
        "linear_tree": {"objective": "l2", "linear_tree": True},
    }.items():
        booster = lightgbm.train(
            quiet | more,
            lightgbm.Dataset(
                x,
                y,
                params={"verbose": -1, "num_threads": 1}
                | ({"linear_tree": True} if "tree" in name else {}),
            ),
            4,
        )
        yield f"lgb_{name}.txt", {f"lgb_{name}.txt": booster.model_to_string().encode()}, "lightgbm"
        if name == "binary":
            yield (
                "lgb_dump.json",
                {"lgb_dump.json": json.dumps(booster.dump_model()).encode()},
                "json",
            )
            yield "lgb_booster.pkl", {"lgb.pkl": pickle.dumps(booster, 4)}, "pickle"
    learner = lightgbm.LGBMRegressor(n_estimators=3, n_jobs=1, verbose=-1, min_child_samples=3).fit(
        x, x[:, 0]
    )
    yield (
        "lgbm_regressor.joblib",
        {"lgbm.joblib": through(lambda p: joblib.dump(learner, p, compress=3), ".joblib")},
        "joblib",
    )


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    tables = (
        ("NumPy", arrays(rng)),
        ("safetensors", tensors(rng)),
        ("skops", skops_rows(rng)),
        ("boosting", boosters(rng)),
    )
    for category, rows in tables:
        for name, files, how in rows:
            yield Loaded(category, name, files, how)
