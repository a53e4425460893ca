"""Checks data against what the maker of a cloud publishes about it, for which there is no JSON schema.

  conform.py azure VERSION < resources   each resource of an ARM template, against the models of Azure's SDK
  conform.py cloud-run < service         a Knative service, against Google's discovery document of Cloud Run

Both know names, types and closed sets of words, and refuse what they do not know. Exit code 1 with one
line for each problem.
"""
import enum
import importlib
import json
import pathlib
import sys
import typing

problems = []


def problem(path, text):
    problems.append(f"{path or '/'}: {text}")


# Azure: the attributes of the SDK's model classes, with their type hints.


def azure(resources, version):
    import azure.mgmt.appcontainers as sdk
    from azure.mgmt.appcontainers import _configuration

    # The models belong to one version of the interface.
    if f'"{version}"' not in pathlib.Path(_configuration.__file__).read_text():
        problem("apiVersion", f"the models are not those of {version}")
    models = importlib.import_module("azure.mgmt.appcontainers.models._models")
    kinds = {
        "Microsoft.App/managedEnvironments": models.ManagedEnvironment,
        "Microsoft.App/managedEnvironments/storages": models.ManagedEnvironmentStorage,
        "Microsoft.App/containerApps": models.ContainerApp,
    }
    for resource in resources:
        kind = kinds.get(resource.get("type"))
        if kind is None:
            problem("type", f"no model of {resource.get('type')!r}")
            continue
        if resource.get("apiVersion") != version:
            problem("apiVersion", f"{resource.get('apiVersion')!r} is not {version}")
        own = {"type", "apiVersion", "name", "dependsOn"}
        model({name: value for name, value in resource.items() if name not in own}, kind, resource["type"])


def fields(kind):
    """What a model has: the name on the wire and the type."""
    names = {"_models": sys.modules["azure.mgmt.appcontainers.models"]}
    found = {}
    for each in reversed(kind.__mro__):
        if each.__module__.startswith("azure.mgmt.appcontainers.models"):
            module = sys.modules[each.__module__]
            hints = typing.get_type_hints(each, {**vars(module), **names})
            for name, hint in hints.items():
                field = vars(each).get(name)
                if hasattr(field, "_rest_name_input"):
                    found[field._rest_name_input or name] = hint
    assert found, kind
    return found


def model(value, kind, path):
    if not isinstance(value, dict):
        return problem(path, f"{value!r} is no {kind.__name__}")
    known = fields(kind)
    for name, inner in value.items():
        if name in known:
            typed(inner, known[name], f"{path}/{name}")
        else:
            problem(path, f"{kind.__name__} has no {name!r}")


def typed(value, hint, path):
    # What the template computes is known only when it is deployed.
    if isinstance(value, str) and value.startswith("["):
        return
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        words = [one for one in inner if isinstance(one, type) and issubclass(one, enum.Enum)]
        if words:
            known = [word.value for one in words for word in one]
            if value not in known:
                problem(path, f"{value!r} is none of {', '.join(known)}")
            return
        inner = [one for one in inner if one is not type(None)]
        if len(inner) == 1:
            return typed(value, inner[0], path)
        return problem(path, f"no rule for {hint}")
    if origin is list:
        if not isinstance(value, list):
            return problem(path, f"{value!r} is no list")
        for index, one in enumerate(value):
            typed(one, inner[0], f"{path}/{index}")
    elif origin is dict:
        if not isinstance(value, dict):
            return problem(path, f"{value!r} is no object")
        for name, one in value.items():
            typed(one, inner[1], f"{path}/{name}")
    elif hasattr(hint, "_deserialize"):
        model(value, hint, path)
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            problem(path, f"{value!r} is no number")
    elif hint in (str, int, bool):
        if type(value) is not hint:
            problem(path, f"{value!r} is no {hint.__name__}")
    else:
        problem(path, f"no rule for {hint}")


# Google: the discovery document that its client for Python carries.


def cloud_run(service):
    import googleapiclient

    place = pathlib.Path(googleapiclient.__file__).parent / "discovery_cache/documents/run.v1.json"
    schemas = json.loads(place.read_text())["schemas"]
    described(service, {"$ref": "Service"}, schemas, "")


def described(value, schema, schemas, path):
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            return problem(path, f"{value!r} is no object")
        known, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            if name in known or rest:
                described(inner, known.get(name, rest), schemas, f"{path}/{name}")
            else:
                problem(path, f"{schema.get('id', 'it')} has no {name!r}")
    elif kind == "array":
        if not isinstance(value, list):
            return problem(path, f"{value!r} is no list")
        for index, one in enumerate(value):
            described(one, schema["items"], schemas, f"{path}/{index}")
    else:
        form = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}[kind]
        if not isinstance(value, form) or (isinstance(value, bool) and kind != "boolean"):
            problem(path, f"{value!r} is no {kind}")
        if "enum" in schema and value not in schema["enum"]:
            problem(path, f"{value!r} is none of {', '.join(schema['enum'])}")


data = json.load(sys.stdin)
if sys.argv[1] == "azure":
    azure(data, sys.argv[2])
else:
    cloud_run(data)
print("\n".join(problems))
sys.exit(1 if problems else 0)
