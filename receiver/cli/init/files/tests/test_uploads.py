"""Run with `python -m unittest discover tests` in this folder; pytest runs it as well."""

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from handlers.uploads import name_of

from receiver import Discard


class UploadsTest(unittest.TestCase):
    def test_the_name_of_the_file_is_found(self):
        self.assertEqual(name_of(SimpleNamespace(payload={"source": {"name": "plan.pdf"}})), "plan.pdf")

    def test_an_upload_without_a_file_is_discarded(self):
        with self.assertRaises(Discard):
            name_of(SimpleNamespace(payload={}))


if __name__ == "__main__":
    unittest.main()
