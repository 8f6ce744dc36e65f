"""Prints what Azure's validator found in the traffic of each version, and ends with 1 if anything is not valid.

    oav_report.py FOLDER        with VERSION.json as `oav validate-traffic --jsonReport` writes it
"""

import json
import pathlib
import sys

wrong = 0
for report in sorted(pathlib.Path(sys.argv[1]).glob("20*.json")):
    told = json.loads(report.read_text())
    others = [name for spec in told["unCoveredOperationsList"] for name in spec["operationIds"]]
    print(f"{report.stem}: {told['coveredOperations']} of {told['allOperations']} operations, {told['failedOperations']} failed;",
          "without traffic:", ", ".join(others) or "none")
    for error in told["errors"]:
        print(json.dumps(error, indent=1))
    wrong += told["failedOperations"] + len(told["errors"])
sys.exit(wrong > 0)
