"""Traces: what is kept of them is encrypted, theirs who may read it, and searched within bounds."""

import contextlib
import io
import json
from typing import Any

import msgspec
import pytest
from conftest_workspace import Place
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import ConflictError, InputError, LimitExceededError, NotFoundError, RefusedError
from vallum.schema import Caller, api, mlflow, mlflow_models, mlflow_traces
from vallum.workspace.steps import span_search
from vallum.workspace.tracking import filters, tracing
from vallum.workspace.tracking.spans import one_meets

SCIENTIST = "AzureML Data Scientist"
FIRST, SECOND = "tr-" + "0" * 32, "tr-" + "1" * 32
QUESTION = "may my neighbour ana borrow money"


def info(experiment_id: str, identity: str = FIRST, **more: Any) -> mlflow_traces.TraceStart:
    told = {
        "trace_id": identity,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": experiment_id},
        },
        "request_time": "2026-11-21T18:31:01.909Z",
        "execution_duration": "0.166s",
        "state": "OK",
        "trace_metadata": {"mlflow.sourceRun": "run-x", "mlflow.traceInputs": QUESTION},
        "tags": {"mlflow.traceName": "answer", "fruit": "apple"},
        "request_preview": QUESTION,
        "response_preview": "no",
        "of_a_later_release": 1,
        **more,
    }
    return mlflow_traces.TraceStart(trace={"trace_info": told})


@pytest.fixture
def experiment(place: Place) -> str:
    made = place.do("experiment.create", mlflow.ExperimentCreate(name="asked")).value
    assert isinstance(made, mlflow.ExperimentCreated)
    return made.experiment_id


def start(place: Place, told: mlflow_traces.TraceStart, who: Caller | None = None) -> Any:
    made = place.do("trace.start", told, who=who).value
    assert isinstance(made, mlflow_traces.TraceReply)
    return made.trace.trace_info


def show(place: Place, identity: str = FIRST, who: Caller | None = None) -> Any:
    found = place.do("trace.get", mlflow_traces.TraceNamed(trace_id=identity), who=who).value
    assert isinstance(found, mlflow_traces.TraceReply)
    return found.trace.trace_info


def search(
    place: Place, experiment: str, text: str = "", who: Caller | None = None, **more: Any
) -> list[object]:
    asked = mlflow_traces.TraceSearch(
        locations=({"mlflow_experiment": {"experiment_id": experiment}},), filter=text, **more
    )
    found = place.do("trace.search", asked, who=who).value
    assert isinstance(found, mlflow_traces.TracesFound)
    return [one["trace_id"] for one in found.traces]


def test_a_trace_is_logged_tagged_shown_and_deleted_with_its_spans(
    place: Place, experiment: str
) -> None:
    told = start(place, info(experiment))
    assert (told["request_time"], told["execution_duration"]) == (
        "2026-11-21T18:31:01.909Z", "0.166s",
    )  # fmt: skip
    assert told["trace_metadata"]["vallum.user"] == "owner"
    place.do("trace.set-tag", mlflow_traces.TraceSetTag(trace_id=FIRST, key="k", value="v"))
    place.do("trace.delete-tag", mlflow_traces.TraceDeleteTag(trace_id=FIRST, key="fruit"))
    root = f"{experiment}/traces/{FIRST}/artifacts"
    assert show(place)["tags"] == {
        "mlflow.traceName": "answer", "k": "v",
        "mlflow.artifactLocation": f"mlflow-artifacts:/{root}",
    }  # fmt: skip
    spans = mlflow_models.ArtifactNamed(path=f"{root}/traces.json")
    content = json.dumps({"spans": [{"inputs": QUESTION}]}).encode()
    place.do("artifact.put", spans, content=io.BytesIO(content))
    entries = len(place.entries())
    reply = place.do("artifact.get", spans)
    assert reply.chunks is not None
    assert b"".join(reply.chunks) == content
    assert "artifact.scan" not in {step for _, step, *_ in place.entries()[entries:]}
    stored = b"".join(one.read_bytes() for one in place.places.data.rglob("*") if one.is_file())
    assert QUESTION.encode() not in stored
    assert place.verify().findings == ()
    gone = place.do(
        "trace.delete",
        mlflow_traces.TracesDelete(experiment_id=experiment, request_ids=(FIRST, SECOND)),
    ).value
    assert gone == mlflow_traces.TracesDeleted(traces_deleted=1)
    with pytest.raises(NotFoundError):
        show(place)
    with pytest.raises(NotFoundError):
        place.do("artifact.get", spans)
    assert place.verify().findings == ()


def test_traces_are_for_who_may_read_them(place: Place, experiment: str) -> None:
    start(place, info(experiment))
    newcomer, contributor = place.person("newcomer"), place.person("contributor", "Contributor")
    with pytest.raises(NotFoundError):
        show(place, who=newcomer)
    with pytest.raises(RefusedError):  # a control role writes, and reads nothing that was asked
        show(place, who=contributor)
    assert (
        search(place, experiment, who=newcomer) == search(place, experiment, who=contributor) == []
    )
    spans = mlflow_models.ArtifactNamed(path=f"{experiment}/traces/{FIRST}/artifacts/traces.json")
    place.do("artifact.put", spans, content=io.BytesIO(b"{}"))
    with pytest.raises(RefusedError):
        place.do("artifact.get", spans, who=contributor)
    place.do(
        "role.assign",
        api.RoleAssign(role=SCIENTIST, principal="newcomer", scope="experiment/asked"),
    )
    assert search(place, experiment, who=newcomer) == [FIRST]
    # An id of the client's own choice reaches no trace of an experiment that one may not write.
    place.do("experiment.create", mlflow.ExperimentCreate(name="own"), who=contributor)
    other = place.person("other")
    place.do(
        "role.assign", api.RoleAssign(role=SCIENTIST, principal="other", scope="experiment/own")
    )
    own = place.do("experiment.find", mlflow.ExperimentByName(experiment_name="own")).value
    assert isinstance(own, mlflow.ExperimentReply)
    with pytest.raises(NotFoundError):
        start(place, info(own.experiment.experiment_id), who=other)
    assert show(place)["trace_metadata"]["vallum.user"] == "owner"


def test_who_may_only_write_a_trace_is_told_what_they_wrote(place: Place, experiment: str) -> None:
    start(place, info(experiment))
    contributor = place.person("contributor", "Contributor")
    own = {"trace_id": FIRST, "trace_location": info(experiment).trace["trace_info"][
        "trace_location"], "tags": {"k": "v"}}  # fmt: skip
    told = start(place, mlflow_traces.TraceStart(trace={"trace_info": own}), who=contributor)
    assert told["tags"].items() >= {("k", "v")}
    assert "fruit" not in told["tags"]
    assert QUESTION not in json.dumps(told)
    again = start(place, mlflow_traces.TraceStart(trace={"trace_info": own}))
    assert (again["tags"]["fruit"], again["request_preview"]) == ("apple", QUESTION)


def test_assessments_are_read_and_changed_by_who_may_read_the_trace(
    place: Place, experiment: str
) -> None:
    start(place, info(experiment))
    contributor = place.person("contributor", "Contributor")
    given = {"assessment_name": "good", "feedback": {"value": True}, "rationale": QUESTION}
    made = place.do(
        "trace.assess", mlflow_traces.AssessmentCreate(trace_id=FIRST, assessment=dict(given))
    ).value
    assert isinstance(made, mlflow_traces.AssessmentReply)
    named = {"trace_id": FIRST, "assessment_id": str(made.assessment["assessment_id"])}
    change = mlflow_traces.AssessmentUpdate(
        **named, assessment={"feedback": {"value": False}}, update_mask="feedback"
    )
    for step, asked in (
        ("trace.assessment", mlflow_traces.AssessmentNamed(**named)),
        ("trace.reassess", change),  # what is not named in the mask comes back with the answer
    ):
        with pytest.raises(RefusedError, match="`experiments/traces/read` is not granted"):
            place.do(step, asked, who=contributor)
    shown = place.do("trace.assessment", mlflow_traces.AssessmentNamed(**named)).value
    assert isinstance(shown, mlflow_traces.AssessmentReply)
    assert shown.assessment["feedback"] == {"value": True}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [SECOND, FIRST]),
        ("status = 'OK' AND trace.name LIKE 'ans%'", [SECOND, FIRST]),
        ("timestamp_ms > 1795285861909", [SECOND]),
        ("execution_time < 200 AND end_time > 0", [FIRST]),
        ("tags.fruit = 'pear'", [SECOND]),
        ("metadata.`mlflow.traceInputs` LIKE '%ana%'", [SECOND, FIRST]),
        ("attribute.run_id = 'run-x'", [SECOND, FIRST]),
        ("run_id = 'run-none'", []),
        ("tags.fruit RLIKE '^p.*r$' AND trace.name RLIKE 'sw'", [SECOND]),
        (f"request_id IN ('{FIRST}')", [FIRST]),
        ("feedback.good = 'true'", [FIRST]),
        ("expectation.answer = '{\"a\": 1}'", [FIRST]),
    ],
)
def test_searches_ask_for_what_a_trace_tells(
    place: Place, experiment: str, text: str, found: list[str]
) -> None:
    start(place, info(experiment))
    start(
        place,
        info(
            experiment, SECOND, request_time="2026-11-21T18:31:01.910Z",
            execution_duration="2s", tags={"mlflow.traceName": "answer", "fruit": "pear"},
        ),
    )  # fmt: skip
    for told in (
        {"assessment_name": "good", "feedback": {"value": True}},
        {"assessment_name": "answer", "expectation": {"value": {"a": 1}}},
    ):
        place.do(
            "trace.assess", mlflow_traces.AssessmentCreate(trace_id=FIRST, assessment=dict(told))
        )
    assert search(place, experiment, text) == found


def test_what_a_search_cannot_ask_is_told(place: Place, experiment: str) -> None:
    for text in (
        "attributes.password = 'x'", "span.parent = 'x'", "span.attributes = 'x'",
        "span.`attributes.` = 'x'", "span.content = 'x'", "trace.text RLIKE 'x'",
        "span.name IS NULL", "span.name > 'x'", "span.name = 1", "span.name RLIKE '('",
        "span.name RLIKE '((a{1000}b){1000}c)'", "tags.fruit RLIKE '(a)\\1'",
    ):  # fmt: skip
        with pytest.raises(InputError) as caught:
            search(place, experiment, text)
        assert caught.value.code == "mlflow.filter"
    with pytest.raises(InputError, match="cannot be ordered"):
        search(place, experiment, order_by=("span.name ASC",))
    with pytest.raises(InputError, match="max_results"):
        search(place, experiment, max_results=501)


def span(name: str, kind: str, *, code: str = "STATUS_CODE_OK", **attributes: object) -> Any:
    """Return a span as clients store it: each attribute is JSON within the JSON."""
    kept = {key: json.dumps(one) for key, one in attributes.items()}
    return {
        "name": name,
        "status": {"code": code, "message": ""},
        "attributes": {"mlflow.spanType": json.dumps(kind), **kept},
    }


def store(place: Place, experiment: str, identity: str, content: bytes) -> None:
    path = f"{experiment}/traces/{identity}/artifacts/traces.json"
    named = mlflow_models.ArtifactNamed(path=path)
    place.do("artifact.put", named, content=io.BytesIO(content))


@pytest.fixture
def with_spans(place: Place, experiment: str) -> str:
    """Return an experiment with two traces that have spans."""
    start(place, info(experiment))
    start(place, info(experiment, SECOND, request_time="2026-11-21T18:31:01.910Z"))
    for identity, spans in (
        (FIRST, [span("answer", "CHAIN"), span("look up", "TOOL", model="gpt-4", k=3, q=QUESTION)]),
        (SECOND, [span("answer", "LLM", code="STATUS_CODE_ERROR", model="gpt-5", said="\ud800")]),
    ):
        store(place, experiment, identity, json.dumps({"spans": [*spans, 1]}).encode())
    return experiment


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("span.name = 'answer'", [SECOND, FIRST]),
        ("span.name = 'Answer'", []),
        ("span.name != 'answer'", [FIRST]),  # one of its spans is another
        ("span.name IN ('look up', 'x') AND status = 'OK'", [FIRST]),
        ("span.name NOT IN ('answer')", [FIRST]),
        ("span.name ILIKE 'LOOK%'", [FIRST]),
        ("span.name RLIKE '^l..k'", [FIRST]),
        ("span.type = 'LLM'", [SECOND]),
        ("span.status = 'ERROR'", [SECOND]),
        ("span.name = 'answer' AND span.type = 'TOOL'", []),  # of one span, all
        ("span.name = 'answer' AND span.type = 'CHAIN' AND tags.fruit = 'apple'", [FIRST]),
        ("span.name = 'answer' AND tags.fruit = 'pear'", []),
        ("span.attributes.model = 'gpt-5'", [SECOND]),
        ("span.attributes.model LIKE 'gpt-_' AND span.attributes.k = '3'", [FIRST]),
        ("span.attributes.missing != 'x'", []),
        ("span.attributes.`mlflow.spanType` = 'TOOL'", [FIRST]),
        ("span.attributes.said RLIKE '.'", [SECOND]),
        ("span.content LIKE '%neighbour ana%'", [FIRST]),
        ("trace.text ILIKE '%NEIGHBOUR%'", [FIRST]),
    ],
)
def test_searches_ask_for_what_a_span_tells(
    place: Place, with_spans: str, text: str, found: list[str]
) -> None:
    assert search(place, with_spans, text) == found


def test_spans_are_searched_for_who_may_read_them_and_that_is_logged(
    place: Place, with_spans: str
) -> None:
    asked = "span.name = 'look up'"
    newcomer = place.person("newcomer")
    before = len(place.entries())
    assert search(place, with_spans, asked, who=newcomer) == []
    assert search(place, with_spans, f"{asked} AND tags.fruit = 'pear'") == []
    assert [step for _, step, *_ in place.entries()[before:]] == ["trace.search"] * 2
    before = len(place.entries())
    place.do(
        "role.assign",
        api.RoleAssign(role=SCIENTIST, principal="newcomer", scope="experiment/asked"),
    )
    assert search(place, with_spans, asked, who=newcomer) == [FIRST]
    told = [step for _, step, *_ in place.entries()[before:]]
    assert told == ["role.assign", "trace.search-spans", "trace.search"]
    assert place.verify().findings == ()


def test_what_are_no_spans_is_not_found(place: Place, with_spans: str) -> None:
    for content in (b"{}", b'{"spans": {"name": "answer"}}', b'["answer"]', b"answer"):
        store(place, with_spans, SECOND, content)
        assert search(place, with_spans, "span.name = 'answer'") == [FIRST]


@pytest.mark.parametrize("bound", ["MAX_LOOKED", "MAX_READ"])
def test_a_page_looks_into_so_many_spans_and_the_next_goes_on(
    place: Place, with_spans: str, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(f"vallum.workspace.steps.span_search.{bound}", 1)
    asked = mlflow_traces.TraceSearch(
        locations=({"mlflow_experiment": {"experiment_id": with_spans}},),
        filter="span.name = 'look up'",
    )
    first = place.do("trace.search", asked).value
    assert isinstance(first, mlflow_traces.TracesFound)
    assert (first.traces, bool(first.next_page_token)) == ((), True)
    # Clients ask for as many as they still lack.
    asked = msgspec.structs.replace(asked, page_token=first.next_page_token, max_results=7)
    second = place.do("trace.search", asked).value
    assert isinstance(second, mlflow_traces.TracesFound)
    assert [one["trace_id"] for one in second.traces] == [FIRST]
    assert second.next_page_token == ""


def test_spans_that_take_too_long_end_the_search(
    place: Place, with_spans: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_search, "MAX_ONE_S", -1)
    with pytest.raises(LimitExceededError) as caught:
        search(place, with_spans, "span.name = 'look up'")
    assert caught.value.code == "mlflow.search-time"


def test_the_time_of_one_span_is_looked_at_before_each_comparison() -> None:
    text = "span.name = 'b' AND span.content LIKE '%b%' AND span.content LIKE '%c%'"
    looked: list[None] = []
    asked = filters.parse_filter(text, tracing.TRACES)
    meets = one_meets(asked, lambda: looked.append(None))
    assert (meets({"name": "b", "more": "c"}), len(looked)) == (True, 3)


def test_a_search_for_spans_during_which_rights_move_tells_nothing(
    place: Place, with_spans: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_file, moved = span_search.read_file, []

    def amid(*given: Any) -> bytes:
        if not moved:
            moved.append(place.person("somebody", "Contributor"))
        return read_file(*given)

    monkeypatch.setattr(span_search, "read_file", amid)
    with pytest.raises(ConflictError, match="rights moved"):
        search(place, with_spans, "span.name = 'look up'")
    assert search(place, with_spans, "span.name = 'look up'") == [FIRST]
    assert place.verify().findings == ()


def test_a_trace_is_assessed_and_who_did_is_the_credential(place: Place, experiment: str) -> None:
    start(place, info(experiment))
    claimed = {
        "assessment_name": "good", "feedback": {"value": True}, "rationale": "r",
        "source": {"source_type": "HUMAN", "source_id": "somebody else"},
        "create_time": "1999-01-01T00:00:00Z", "assessment_id": "mine",
    }  # fmt: skip
    made = place.do(
        "trace.assess", mlflow_traces.AssessmentCreate(trace_id=FIRST, assessment=dict(claimed))
    ).value
    assert isinstance(made, mlflow_traces.AssessmentReply)
    told = made.assessment
    assert told["metadata"] == {"vallum.user": "owner"}
    assert told["assessment_id"] != "mine"
    assert not str(told["create_time"]).startswith("1999")
    named = {"trace_id": FIRST, "assessment_id": str(told["assessment_id"])}
    change = mlflow_traces.AssessmentUpdate(
        **named, assessment={"feedback": {"value": False}}, update_mask="feedback"
    )
    place.do("trace.reassess", change)
    shown = place.do("trace.assessment", mlflow_traces.AssessmentNamed(**named)).value
    assert isinstance(shown, mlflow_traces.AssessmentReply)
    assert (shown.assessment["feedback"], shown.assessment["rationale"]) == ({"value": False}, "r")
    with pytest.raises(InputError, match="update_mask"):
        place.do("trace.reassess", mlflow_traces.AssessmentUpdate(
            **named, assessment={}, update_mask="trace_id",
        ))  # fmt: skip
    place.do("trace.unassess", mlflow_traces.AssessmentNamed(**named))
    with pytest.raises(NotFoundError):
        place.do("trace.assessment", mlflow_traces.AssessmentNamed(**named))


def test_traces_are_linked_to_runs_that_one_may_write(place: Place, experiment: str) -> None:
    run = place.do("run.create", mlflow.RunCreate(experiment_id=experiment)).value
    assert isinstance(run, mlflow.RunReply)
    run_id = run.run.info.run_id
    start(place, info(experiment))
    link = mlflow_traces.TracesLink(run_id=run_id, trace_ids=(FIRST,))
    place.do("trace.link", link)
    assert search(place, experiment, f"run_id = '{run_id}'") == [FIRST]
    with pytest.raises(NotFoundError):
        place.do("trace.link", link, who=place.person("newcomer"))


@pytest.mark.parametrize(
    "more",
    [
        {"trace_id": "tr-x"},
        {"trace_id": "../../x"},
        {"trace_location": {"uc_schema": {}}},
        {"request_time": "yesterday"},
        {"request_time": 5},
        {"execution_duration": "5"},
        {"state": "FINE"},
        {"tags": {"k": 1}},
        {"tags": [1]},
        {"tags": {"k" * 251: ""}},
        {"request_preview": {}},
    ],
)
def test_what_is_no_trace_is_refused(place: Place, experiment: str, more: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        start(place, info(experiment, **more))


def test_a_trace_tells_no_more_than_fits(place: Place, experiment: str) -> None:
    with pytest.raises(LimitExceededError, match="beside its spans"):
        start(place, info(experiment, tags={f"t{at}": "x" * 60_000 for at in range(6)}))


@given(st.integers(-(2**52), 2**43))
def test_times_are_told_as_they_were_heard(at_ms: int) -> None:
    if at_ms < -62_135_596_800_000:  # before the year 1
        return
    assert tracing.started_of({"request_time": tracing.time_text(at_ms)}) == at_ms


@given(st.text(max_size=40))
def test_any_text_is_a_time_and_a_duration_or_bad_input(text: str) -> None:
    for read in (
        lambda: tracing.started_of({"request_time": text}),
        lambda: tracing.duration_of({"execution_duration": text}),
    ):
        with contextlib.suppress(InputError):
            read()
