"""tests/lib/jsonschema_subset.py - as much of JSON Schema 2020-12 as docs/api uses; the rest is refused.

Stricter than the standard in one thing: a property that the schema does not name is an error, so that
what programs print cannot go undescribed.
"""
import json
import os
import re

API = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "docs", "api")
KNOWN = {"$schema", "$id", "title", "description", "$defs", "$ref", "anyOf", "type", "enum", "const", "properties",
         "required", "additionalProperties", "items", "pattern", "minimum", "maximum", "multipleOf", "minLength",
         "maxLength"}
TYPES = {
    "object": lambda v: isinstance(v, dict), "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str), "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
}


def load(name):
    with open(os.path.join(API, name)) as f:
        return json.load(f)


ROOT = load("schema.json")


def resolve(ref):
    prefix = "#/$defs/"
    ref = ref.removeprefix("schema.json")
    assert ref.startswith(prefix) and ref[len(prefix):] in ROOT["$defs"], f"no such definition: {ref}"
    return ROOT["$defs"][ref[len(prefix):]]


def errors(value, schema, at="$"):
    """What is wrong, as lines; none: it is valid."""
    assert set(schema) <= KNOWN, f"{at}: this validator does not know {set(schema) - KNOWN}"
    if "$ref" in schema:
        return errors(value, resolve(schema["$ref"]), at)
    if "anyOf" in schema:
        return any_of(value, schema["anyOf"], at)
    if "const" in schema and value != schema["const"]:
        return [f"{at}: {value!r} is not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is none of {schema['enum']}"]
    kind = schema.get("type")
    if kind is not None and not TYPES[kind](value):
        return [f"{at}: {value!r} is no {kind}"]
    if isinstance(value, dict) and kind == "object":
        return object_errors(value, schema, at)
    if isinstance(value, list) and "items" in schema:
        return [e for i, v in enumerate(value) for e in errors(v, schema["items"], f"{at}[{i}]")]
    return scalar_errors(value, schema, at)


def any_of(value, options, at):
    tried = [errors(value, s, at) for s in options]
    if not all(tried):
        return []
    return min(tried, key=lambda t: sum("is not described" in e or "is missing" in e for e in t) * 10 + len(t))


def object_errors(value, schema, at):
    props = schema.get("properties", {})
    found = [f"{at}: {k} is missing" for k in schema.get("required", []) if k not in value]
    found += [f"{at}: {k} is not described in docs/api/schema.json" for k in value if k not in props]
    for k, v in value.items():
        if k in props:
            found += errors(v, props[k], f"{at}.{k}")
    return found


def scalar_errors(value, schema, at):
    found = []
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{at}: {value!r} does not match {schema['pattern']}")
    if TYPES["number"](value):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            found.append(f"{at}: {value} is out of range")
    return found


def check(value, schema=None):
    found = errors(value, schema or ROOT)
    assert not found, "; ".join(found[:8])
