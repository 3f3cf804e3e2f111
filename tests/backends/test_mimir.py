"""mimir.yaml as far as it can be tested without a Mimir: every setting exists there, and has a value of its type.

A module that Mimir needs can't be had from the Go module proxy, so Mimir isn't built here. Its own module can: the
list of its settings is in it (cmd/mimir/config-descriptor.json). Needs MIMIR_DESCRIPTOR, a path of that file; or Go, the
module proxy, and MIMIR_FETCH=1, since the module is under the AGPL.
"""

import json
import os
import re
import shutil
import subprocess
import unittest
from pathlib import Path

from harness import REPOSITORY

# Of May 2025: 2.16.0 is its last release, and its VERSION file says so.
VERSION = "v0.0.0-20250501105506-4584085047c0"


def settings(block, path=()):
    """{path of a setting: its type} of the descriptor; a map of any keys has the type `map`."""
    for entry in block.get("blockEntries") or []:
        own = (*path, entry["name"]) if entry["name"] else path
        if entry["kind"] == "block":
            yield from settings(entry, own)
        else:
            yield own, entry.get("fieldType") or entry["kind"]


def read_yaml(text):
    """Leaves of YAML that has only mappings and scalars, as mimir.yaml: {path: text of the value}."""
    leaves, path = {}, []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).rstrip()
        if not line:
            continue
        indentation, key, value = re.fullmatch(r"( *)([\w-]+):(?: (.*))?", line).groups()
        while path and path[-1][0] >= len(indentation):
            path.pop()
        if value is None:
            path.append((len(indentation), key))
        else:
            leaves[(*(name for _, name in path), key)] = value
    return leaves


def descriptor():
    named = os.environ.get("MIMIR_DESCRIPTOR")
    if named:
        return json.loads(Path(named).read_text())
    if os.environ.get("MIMIR_FETCH") != "1":
        raise unittest.SkipTest('Mimir is fetched only where NETFLOW_BACKENDS names "mimir"')
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(go):
        raise unittest.SkipTest("Go isn't installed: Mimir's settings can't be read")
    done = subprocess.run(
        [go, "mod", "download", "-json", f"github.com/grafana/mimir@{VERSION}"],
        capture_output=True, text=True, check=False, timeout=300, cwd="/",
    )  # fmt: skip
    if done.returncode != 0:
        raise unittest.SkipTest(f"Mimir's module can't be had: {done.stdout}{done.stderr}")
    folder = json.loads(done.stdout)["Dir"]
    return json.loads((Path(folder) / "cmd/mimir/config-descriptor.json").read_text())


FORMS = {
    "int": r"\d+",
    "boolean": "true|false",
    "duration": r"(\d+(ms|s|m|h|d|w|y))+",
    "string": ".+",
    "float": r"\d+(\.\d+)?",
}


class MimirYaml(unittest.TestCase):
    def test_every_setting_exists_and_has_a_value_of_its_type(self):
        known = dict(settings(descriptor()))
        self.assertGreater(len(known), 500)
        leaves = read_yaml((REPOSITORY / "mimir.yaml").read_text())
        self.assertGreater(len(leaves), 15)
        for path, value in leaves.items():
            with self.subTest(setting=".".join(path)):
                self.assertIn(path, known)
                self.assertRegex(value, f"^({FORMS[known[path]]})$")

    def test_what_tempo_writes_to_is_where_mimir_listens(self):
        leaves = read_yaml((REPOSITORY / "mimir.yaml").read_text())
        port = leaves["server", "http_listen_port"]
        for file in ("tempo.yaml", "deploy/prometheus/prometheus.yaml"):
            self.assertIn(f"url: http://mimir:{port}/api/v1/push", (REPOSITORY / file).read_text())


if __name__ == "__main__":
    unittest.main()
