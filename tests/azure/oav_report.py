"""Prints what Azure's validator found in the traffic of each version, and ends with 1 if anything is not valid.

    oav_report.py FOLDER        with VERSION.json as `oav validate-traffic --jsonReport` writes it
"""

import json
import pathlib
import sys

found = 0
for report in sorted(pathlib.Path(sys.argv[1]).glob("20*.json")):
    told = json.loads(report.read_text())
    files = told.get("generalErrorsInnerList", []) or []
    print(report.stem, {name: value for name, value in told.items() if not isinstance(value, (list, dict))})
    def walk(value, path=""):
        global found
        if isinstance(value, dict):
            if value.get("code") and value.get("message"):
                found += 1
                print("  ", path, value["code"], value["message"], value.get("jsonPathsInPayload") or value.get("pathsInPayload") or "")
            for name, below in value.items():
                walk(below, f"{path}/{name}")
        elif isinstance(value, list):
            for at, below in enumerate(value):
                walk(below, f"{path}[{at}]")
    walk(told)
print(found, "problems")
sys.exit(found > 0)
