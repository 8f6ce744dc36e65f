"""Derives `fields.tsv` and `examples.json` from Azure's published descriptions of the gallery's types.

    python derive.py SPEC PACKAGES

SPEC has a folder for each api-version with its swagger files and examples, and `newer` with examples alone. PACKAGES has the
unpacked clients that describe the api-versions between and after them, as `m33.0.0` (2018-06-01 to 2023-07-03), `m37.1.0` (2024-03-03),
`m37.2.0` (2025-03-03) and `m39.0.0` (2026-03-03) of azure-mgmt-compute. Where two describe one api-version, they must agree.

A row of `fields.tsv`: type, path (an item of a list has its list's), form, first api-version, first one without it, words with the
api-version of those that are known to have come later, `required` and `readOnly`.
"""

import ast
import json
import pathlib
import re
import sys

SWAGGERS = ["2018-06-01", "2019-03-01", "2023-07-03"]
PACKAGES = {
    **{v: "m33.0.0" for v in ["2018-06-01", "2019-03-01", "2019-07-01", "2019-12-01", "2020-09-30", "2021-07-01",
                              "2021-10-01", "2022-01-03", "2022-03-03", "2022-08-03", "2023-07-03"]},
    "2024-03-03": "m37.1.0", "2025-03-03": "m37.2.0", "2026-03-03": "m39.0.0",
}
# No description of these is public: they have the fields of the one before.
SAME = {"2021-03-01": "2020-09-30", "2025-12-03": "2025-03-03"}
TYPES = [
    "Gallery", "GalleryImage", "GalleryImageVersion", "SharingUpdate", "GallerySoftDeletedResource",
    "SharedGallery", "SharedGalleryImage", "SharedGalleryImageVersion",
    "CommunityGallery", "CommunityGalleryImage", "CommunityGalleryImageVersion",
]


class Swagger:
    """The types of an api-version's swagger files."""

    def __init__(self, folder):
        self.files = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
        common = folder.parent / "common-types/v1/common.json"
        self.files[common.name] = json.loads(common.read_text())

    def named(self, name):
        for file, spec in self.files.items():
            if name in spec.get("definitions", {}):
                return file, spec["definitions"][name]
        return None

    def resolve(self, file, schema):
        # Properties beside a `$ref` count for read-only.
        read_only = schema.get("readOnly", False)
        while "$ref" in schema:
            where, pointer = schema["$ref"].split("#")
            file = where.split("/")[-1] or file
            schema = self.files[file]["definitions"][pointer.split("/")[-1]]
        return file, schema, read_only or schema.get("readOnly", False)

    def fields(self, name):
        found = {}
        if self.named(name):
            self.walk(*self.named(name), "", found)
        return found

    def walk(self, file, schema, path, found):
        for base in schema.get("allOf", []):
            where, base, _ = self.resolve(file, base)
            self.walk(where, base, path, found)
        required = schema.get("required", [])
        for name, below in schema.get("properties", {}).items():
            where, below, read_only = self.resolve(file, below)
            at = f"{path}.{name}".lstrip(".")
            found[at] = (self.form(below), tuple(below.get("enum", [])), name in required, read_only)
            if below.get("type") == "array":
                inner, item, _ = self.resolve(where, below["items"])
                form = self.form(item)
                found[at] = ("list" if form == "object" else f"list of {form}", tuple(item.get("enum", [])), *found[at][2:])
                below, where = item, inner
            if self.form(below) == "object":
                self.walk(where, below, at, found)

    @staticmethod
    def form(schema):
        if "additionalProperties" in schema:
            return "map"
        kind = schema.get("type", "object")
        if kind == "string" and schema.get("format") == "date-time":
            return "date"
        return kind


class Package:
    """The types of an api-version's models in a client."""

    FORMS = {"str": "string", "int": "integer", "bool": "boolean", "iso-8601": "date", "object": "object"}

    def __init__(self, folder, version):
        models = folder / "azure/mgmt/compute"
        inner = models / ("v" + version.replace("-", "_"))
        models = (inner if inner.exists() else models) / "models"
        self.types, self.words = {}, {}
        for path in models.glob("_*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    self.read(node)

    def read(self, node):
        bases = [ast.unparse(base).split(".")[-1] for base in node.bases]
        if "Enum" in bases:
            values = [item.value.value for item in node.body if isinstance(item, ast.Assign)]
            self.words[node.name] = tuple(values)
            return
        found, valid = {}, {}
        for item in node.body:
            if isinstance(item, ast.Assign) and item.targets[0].id == "_attribute_map":
                for name, of in ast.literal_eval(item.value).items():
                    found[name] = (of["key"], of["type"], False, False)
            elif isinstance(item, ast.Assign) and item.targets[0].id == "_validation":
                valid = ast.literal_eval(item.value)
            elif isinstance(item, ast.AnnAssign) and item.value is not None and "rest_field" in ast.unparse(item.value):
                call = item.value
                options = {word.arg: ast.unparse(word.value) for word in call.keywords}
                name = ast.literal_eval(options["name"]) if "name" in options else item.target.id
                kind = ast.unparse(item.annotation)
                found[name] = (name, kind, "Optional" not in kind, options.get("visibility") == "['read']")
        for name, of in valid.items():
            if name in found:
                key, kind, _, _ = found[name]
                found[name] = (key, kind, of.get("required", False), of.get("readonly", False))
        self.types[node.name] = (bases, list(found.values()))

    def fields(self, name):
        found = {}
        if name in self.types:
            self.walk(name, "", found)
        return found

    def walk(self, name, path, found):
        bases, fields = self.types[name]
        for base in bases:
            if base in self.types:
                self.walk(base, path, found)
        for key, kind, required, read_only in fields:
            parts = key.replace("\\.", "%").split(".")
            for length in range(1, len(parts)):
                found.setdefault(".".join(filter(None, [path, *parts[:length]])), ("object", (), False, False))
            at = ".".join(filter(None, [path, *parts]))
            form, words, below = self.form(kind)
            found[at] = (form, words, required, read_only)
            if below:
                self.walk(below, at, found)

    def form(self, kind):
        if kind.startswith("{") or "dict[" in kind:
            return "map", (), None
        names = re.findall(r"[A-Za-z][\w-]*", kind.replace("_models.", "").replace("datetime.datetime", "iso-8601"))
        words = next((self.words[name] for name in names if name in self.words), ())
        below = next((name for name in names if name in self.types), None)
        form = "object" if below else next((self.FORMS[name] for name in names if name in self.FORMS), "object")
        if kind.startswith("[") or "list[" in kind:
            form = "list" if below else f"list of {form}"
        return form, words, below


def described(spec, packages):
    """Returns the fields of each api-version's types."""
    versions = {}
    for version, package in PACKAGES.items():
        of_package = Package(packages / package, version)
        versions[version] = {name: of_package.fields(name) for name in TYPES}
    for version in SWAGGERS:
        swagger = Swagger(spec / version)
        for name in TYPES:
            of_swagger, of_package = swagger.fields(name), versions[version][name]
            if name.startswith(("Shared", "Community")) and not of_swagger:
                continue
            # Clients flatten, so that an object around properties of which none is there is unknown to them.
            differ = set(of_swagger) ^ set(of_package)
            assert not differ, (version, name, sorted(differ))
            versions[version][name] = of_swagger
    for version, same in SAME.items():
        versions[version] = versions[same]
    versions = dict(sorted(versions.items()))
    # 2021-10-01 left the consumers' views out, and the next one had them again.
    for name in TYPES:
        before = {}
        for of in versions.values():
            of[name] = before = of[name] or before
    return versions


def rows(versions):
    names = list(versions)
    for of in TYPES:
        paths = sorted({path for version in names for path in versions[version][of]})
        for path in paths:
            there = [version for version in names if path in versions[version][of]]
            first, last = names.index(there[0]), names.index(there[-1])
            assert names[first:last + 1] == there, (of, path, there)
            until = names[last + 1] if last + 1 < len(names) else ""
            # A swagger tells most.
            told = [version for version in there if version in SWAGGERS] or there
            form, _, required, read_only = versions[told[-1]][of][path]
            words = {}
            for version in there:
                for word in versions[version][of][path][1]:
                    words.setdefault(word, version)
            # Not each description has words: the first that has is the oldest known.
            oldest = min(words.values(), default=None)
            written = "|".join(w if since == oldest else f"{w}@{since}" for w, since in words.items())
            flags = " ".join(flag for flag, on in (("required", required), ("readOnly", read_only)) if on)
            yield "\t".join([of, path, form, there[0], until, written, flags])


def method_of(name):
    """Returns the method of an example whose swagger is not public."""
    return next(of for word, of in [("Create", "PUT"), ("Update", "PATCH"), ("Delete_", "DELETE"), ("", "GET")] if word in name)


def route_of(parameters):
    group = "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Compute"
    gallery = f"{group}/galleries/{{galleryName}}"
    if "artifactName" in parameters:
        return f"{gallery}/softDeletedArtifactTypes/{{artifactType}}/artifacts/{{artifactName}}/versions"
    version = "/versions/{galleryImageVersionName}" if "galleryImageVersionName" in parameters else ""
    return f"{gallery}/images/{{galleryImageName}}{version}"


def examples(spec):
    """Returns the requests and answers that concern galleries, images and versions, and their shared and community views."""
    found = []
    for version in sorted([*SWAGGERS, *(path.name for path in (spec / "newer").iterdir())]):
        folder = spec / version if version in SWAGGERS else spec / "newer" / version
        operations = {}
        for path in sorted(folder.rglob("*.json")):
            file = json.loads(path.read_text())
            for route, methods in file.get("paths", {}).items():
                for method, operation in methods.items():
                    for example in operation.get("x-ms-examples", {}).values():
                        at = "/".join(example["$ref"].split("/")[-2:])
                        operations[at] = (method.upper(), route)
        for path in sorted(folder.rglob("*.json")):
            if "xamples" not in str(path.relative_to(folder).parent):
                continue
            example = json.loads(path.read_text())
            if re.search(r"Application|Script|InVM|Invite", path.name):
                continue
            parameters = example["parameters"]
            at = "/".join(path.parts[-2:])
            method, route = operations.get(at) or (method_of(path.name), route_of(parameters))
            found.append({"version": version, "name": path.name, "method": method, "route": route,
                          "parameters": parameters, "responses": example["responses"]})
    return found


if __name__ == "__main__":
    here, spec, packages = pathlib.Path(__file__).parent, pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    table = list(rows(described(spec, packages)))
    (here / "fields.tsv").write_text("\n".join(table) + "\n")
    (here / "examples.json").write_text("[\n" + ",\n".join(map(json.dumps, examples(spec))) + "\n]\n")
    print(len(table), "fields")
