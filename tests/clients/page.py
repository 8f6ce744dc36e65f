"""Runs the Python of a page as it stands there, against a server that has test endpoints.

    python page.py docs/azure-clients.md http://127.0.0.1:8080
"""

import re
import sys

page, base = sys.argv[1:]
blocks = re.findall(r"```python\n(.*?)```", open(page).read(), re.DOTALL)
assert blocks
for block in blocks:
    there = {}
    exec(block.replace("http://127.0.0.1:8080", base), there)
    for test in [value for name, value in there.items() if name.startswith("test_")]:
        test()
print("ok:", len(blocks), "blocks")
