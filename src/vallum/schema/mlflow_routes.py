"""MLflow's REST interface as a table: what is not here answers 404 after authentication.

Paths are MLflow's (`mlflow/protos/service.proto`), below each prefix of `PREFIXES`.
"""

from vallum.schema import mlflow
from vallum.schema.routes import Route

PREFIXES = ("/api/2.0/mlflow", "/ajax-api/2.0/mlflow", "/api/3.0/mlflow", "/ajax-api/3.0/mlflow")

MLFLOW_ROUTES: tuple[Route, ...] = (
    # experiments
    Route("POST", "/experiments/create", "experiment.create", mlflow.ExperimentCreate,
          mlflow.ExperimentCreated, "Make an experiment"),
    Route("GET", "/experiments/get", "experiment.get", mlflow.ExperimentNamed,
          mlflow.ExperimentReply, "Show an experiment"),
    Route("GET", "/experiments/get-by-name", "experiment.find", mlflow.ExperimentByName,
          mlflow.ExperimentReply, "Show the experiment of a name"),
    Route("POST", "/experiments/search", "experiment.search", mlflow.Search,
          mlflow.ExperimentsFound, "Search experiments"),
    Route("GET", "/experiments/search", "experiment.search", mlflow.Search,
          mlflow.ExperimentsFound, "Search experiments"),
    Route("POST", "/experiments/update", "experiment.update", mlflow.ExperimentUpdate,
          mlflow.Nothing, "Rename an experiment"),
    Route("POST", "/experiments/delete", "experiment.delete", mlflow.ExperimentNamed,
          mlflow.Nothing, "Delete an experiment; it can be restored"),
    Route("POST", "/experiments/restore", "experiment.restore", mlflow.ExperimentNamed,
          mlflow.Nothing, "Restore a deleted experiment"),
    Route("POST", "/experiments/set-experiment-tag", "experiment.set-tag",
          mlflow.ExperimentSetTag, mlflow.Nothing, "Set a tag of an experiment"),
    Route("POST", "/experiments/delete-experiment-tag", "experiment.delete-tag",
          mlflow.ExperimentDeleteTag, mlflow.Nothing, "Remove a tag of an experiment"),
    # runs
    Route("POST", "/runs/create", "run.create", mlflow.RunCreate, mlflow.RunReply,
          "Start a run"),
    Route("GET", "/runs/get", "run.get", mlflow.RunNamed, mlflow.RunReply, "Show a run"),
    Route("POST", "/runs/update", "run.update", mlflow.RunUpdate, mlflow.RunUpdated,
          "Change a run's status or name"),
    Route("POST", "/runs/delete", "run.delete", mlflow.RunNamed, mlflow.Nothing,
          "Delete a run; it can be restored"),
    Route("POST", "/runs/restore", "run.restore", mlflow.RunNamed, mlflow.Nothing,
          "Restore a deleted run"),
    Route("POST", "/runs/search", "run.search", mlflow.RunSearch, mlflow.RunsFound,
          "Search runs"),
    Route("POST", "/runs/log-metric", "run.log-metric", mlflow.RunLogMetric, mlflow.Nothing,
          "Log a point of a metric"),
    Route("POST", "/runs/log-parameter", "run.log-param", mlflow.RunLogParam, mlflow.Nothing,
          "Log a parameter"),
    Route("POST", "/runs/set-tag", "run.set-tag", mlflow.RunSetTag, mlflow.Nothing,
          "Set a tag of a run"),
    Route("POST", "/runs/delete-tag", "run.delete-tag", mlflow.RunDeleteTag, mlflow.Nothing,
          "Remove a tag of a run"),
    Route("POST", "/runs/log-batch", "run.log-batch", mlflow.RunLogBatch, mlflow.Nothing,
          "Log metrics, parameters and tags together"),
    Route("GET", "/metrics/get-history", "run.metric-history", mlflow.MetricHistory,
          mlflow.MetricsFound, "List the points of a metric"),
)  # fmt: skip
