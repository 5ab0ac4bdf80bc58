"""A pytest plugin that takes a protection away: one text of one module is replaced.

`NEUROVIS_MUTATION` holds the module, the text and what stands instead, as JSON.
"""

import importlib.machinery
import json
import os
import sys


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        text = self.get_data(self.path).decode()
        assert text.count(_OLD) == 1, f"{_OLD!r} is not once in {self.path}"
        return self.source_to_code(text.replace(_OLD, _NEW), self.path)


class _Finder:
    @staticmethod
    def find_spec(fullname, path=None, target=None):
        if fullname != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        spec.loader = _Loader(fullname, spec.origin)
        return spec


_MODULE, _OLD, _NEW = json.loads(os.environ["NEUROVIS_MUTATION"])
assert _MODULE not in sys.modules, f"{_MODULE} was imported before"
sys.meta_path.insert(0, _Finder())
