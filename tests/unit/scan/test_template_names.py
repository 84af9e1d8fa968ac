"""Names that a template builds: in place, in a variable, a loop, a macro."""

import pytest

from vallum.scan import scan_bytes

BUILT = [
    """{{ messages["_" "_class_" "_"] }}""",
    """{% set k = "_" ~ "_class_" ~ "_" %}{{ messages[k] }}""",
    """{% set k %}_{{ "_class_" }}_{% endset %}{{ messages[k] }}""",
    """{% for k in ["_" ~ "_class_" ~ "_"] %}{{ messages[k] }}{% endfor %}""",
    """{% set k = ["_", "_class_", "_"]|join %}{{ messages[k] }}""",
    """{% set k = "xxclassxx".replace("x", "_") %}{{ messages[k] }}""",
    """{% set k = tool.name|replace("x", "_") %}{{ messages[k] }}""",
    """{% set u = "_" %}{% set k = tool.name.replace("x", u) %}{{ messages[k] }}""",
    """{% set ns = namespace(k="_") %}{% set ns.k = ns.k ~ "x" %}{{ messages[ns.k] }}""",
    """{% set ns = namespace(k="_" ~ "x") %}{{ messages[ns.k] }}""",
    """{% set k = "%sclass%s" % ("_" "_", "_" "_") %}{{ messages[k] }}""",
    """{% set u = "_" * 2 %}{{ messages[u] }}""",
    """{% set a = "ssalc" %}{% set k = a[::-1] %}{{ messages[k] }}""",
    """{% set a = "x_environment" %}{{ messages[a[1:]] }}""",
    """{% macro m() %}_{{ "class_" }}_{% endmacro %}{% set k = m() %}{{ messages[k] }}""",
    """{% macro m(k) %}{{ messages[k] }}{% endmacro %}{{ m("_" ~ "_class_" ~ "_") }}""",
    """{% set l = [] %}{% do l.append("_" ~ "x") %}{{ messages[l[0]] }}""",
    """{% with k = "_" ~ "x" %}{{ messages[k] }}{% endwith %}""",
    """{% set a = "_" ~ "x" %}{% set b = a if a else 1 %}{{ messages[b|first] }}""",
    """{% set k = "_" ~ "x" %}{{ messages|selectattr(k)|first }}""",
    """{{ (messages|select)["gi_" "frame"] }}""",
    """{% macro m() %}{% endmacro %}{{ m["_environment"] }}""",
    """{% macro m() %}{{ messages[caller()] }}{% endmacro %}{% call m() %}_{{ 1 }}{% endcall %}""",
]
REFUSED = [
    "{% call lipsum() %}{% endcall %}",
    "{% call messages.pop() %}{% endcall %}",
    "{% macro m() %}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}",
    "{{ context }}{% for x in context %}{% endfor %}",
    "{{ '{0.x}'.format(messages) }}",
    "{{ '{0[x]}'.format(messages) }}",
    "{{ '{0!r}'.format(messages) }}",
    "{{ '{0.x' '}'.format(messages) }}",
    "{{ '{:{}}'.format(messages, 9) }}",
    "{{ '{:99999}'.format(messages) }}",
    "{{ ('{0.' ~ 'x}').format(messages) }}",
    "{{ ('{}').format(messages) }}",
]
GIVEN = [
    """{% for context in contexts %}{{ context.strip() }}{% endfor %}""",
    """{% macro m(a) %}{{ caller() }}{% endmacro %}{% call m(1) %}{{ tool.name }}{% endcall %}""",
    """{{ "<|image_{i:d}|>".format(i=ns.i) ~ '{}{{}}'.format(tool.name) }}""",
    """{% for k in tool.keys() | reject("in", ["a"]) %}{{ tool[k] }}{% endfor %}""",
    """{% for k, v in tool|dictsort %}{{ tool[k] }}{% endfor %}""",
    """{% set i = messages|length - 1 %}{{ messages[i].content ~ messages[i - 1] }}""",
    """{% set ns = namespace(i=0, text="") %}{% for m in messages %}{% set ns.i = ns.i + 1 %}
    {% set ns.text = ns.text ~ m.content %}{{ messages[ns.i] }}{% endfor %}""",
    """{% set keys = ["a"] + ["b"] %}{% for k in keys %}{{ tool[k] }}{% endfor %}""",
    """{% set rest = messages[1:] %}{% for m in rest %}{{ names[m.role] }}{{ m["role"] }}
    {% endfor %}{% generation %}{{ rest[-1]["content"] | trim }}{% endgeneration %}""",
    """{% for part in ref[2:].split("/") %}{% set k = part|replace("~1", "/") %}{{ tool[k] }}
    {% endfor %}""",
    """{% macro show(x, k) %}{{ x[k] }}{% endmacro %}{{ show(tool, "name") }}""",
    """{% set role = "user" if messages[0]["role"] == "user" else "system" %}{{ names[role] }}""",
]


@pytest.mark.parametrize("text", BUILT)
def test_a_name_that_is_built_is_a_finding(text: str) -> None:
    found = {one.id for one in scan_bytes("x", text.encode()).files[0].findings}
    assert found & {"template.computed", "template.internals"}


@pytest.mark.parametrize("text", REFUSED)
def test_a_template_that_calls_or_formats_what_it_may_not_is_refused(text: str) -> None:
    assert scan_bytes("x", text.encode()).exit_code == 1


@pytest.mark.parametrize("text", GIVEN)
def test_names_that_are_given_pass(text: str) -> None:
    assert not scan_bytes("x", text.encode()).files[0].findings


def test_what_jinja_does_not_parse_is_not_taken_for_read() -> None:
    text = """{% for m in messages %}{{ m["role"] }}{% endif %}"""
    assert [one.id for one in scan_bytes("x", text.encode()).files[0].findings] == [
        "template.syntax"
    ]


def test_templates_of_a_yaml_document_are_judged_as_they_are_read() -> None:
    text = "chat: '{%% for m in messages %%}{{ m[''role''] }}%s{%% endfor %%}'\n"
    assert not scan_bytes("x", (text % "").encode()).files[0].findings
    built = scan_bytes("x", (text % "{{ lipsum }}").encode()).files[0].findings
    assert "template.internals" in {one.id for one in built}


@pytest.mark.parametrize(
    "text",
    [
        "auto_map:\n  AutoModel: evil.Model\nname: '{{ x }}'\n",
        "# {{ x }}\n_target_: evil.Model\n",
        'node {\n  name: "{{ x }}"\n  op: "PyFunc"\n}\n',
    ],
    ids=["a name to import", "a comment", "a graph"],
)
def test_a_template_hides_nothing_else_of_its_text(text: str) -> None:
    assert scan_bytes("x", text.replace("{{ x }}", "x").encode()).exit_code == 1
    assert scan_bytes("x", text.encode()).exit_code == 1
