#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""test_rows.py API: every sort of bad row is refused with its file, line and reason."""
import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import api as api_module  # noqa: E402

TYPES = """enum CUresult
	CUDA_SUCCESS = 0
end
alias CUdeviceptr unsigned long long
pointer CUstream CUstream_st
kind CUstream stream
struct HOLDER
	void *pointer
end
"""
LINE = TYPES.count("\n") + 1
REAL = sys.argv.pop(1) if len(sys.argv) > 1 else "proto/cuda.api"


class Rows(unittest.TestCase):
    def read(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "bad.api"
            path.write_text(TYPES + text)
            return api_module.Api(str(path))

    def refused(self, text, reason, line=LINE):
        with self.assertRaises(api_module.BadRow) as caught:
            self.read(text)
        self.assertRegex(str(caught.exception), rf"bad\.api:{line}: .*{reason}")

    def test_real_file_is_good(self):
        self.assertGreater(len(api_module.Api(REAL).calls), 150)

    def test_named_tests_name_the_function(self):
        root = pathlib.Path(REAL).resolve().parent.parent
        for call in api_module.Api(REAL).calls:
            for name in call.tested:
                self.assertRegex((root / name).read_text(), rf"\b(client_)?{call.symbol}\b",
                                 f"{name} does not test {call.symbol}")

    def test_each_row_is_tested(self):
        self.assertEqual([call.symbol for call in api_module.Api(REAL).calls
                          if call.local and not call.tested], [],
                         "written by hand and in no test")

    def test_unknown_row(self):
        self.refused("function f()\n", "unknown row")

    def test_no_known_line(self):
        self.refused("call cuA(int a)\n\tlocal\n", "no .known. line")

    def test_bad_version(self):
        self.refused("call cuA(int a)\n\tknown cuA twelve\n", "known NAME VERSION", LINE + 1)

    def test_unknown_word(self):
        self.refused("call cuA(int a)\n\tknown cuA 2000\n\tquickly\n", "unknown word", LINE + 2)

    def test_unknown_annotation(self):
        self.refused("call cuA(int *a : inout)\n", "unknown annotation")

    def test_pointer_without_annotation(self):
        self.refused("call cuA(int *a)\n\tknown cuA 2000\n", "cannot travel by value")

    def test_structure_with_pointer(self):
        self.refused("call cuA(HOLDER *a : in)\n\tknown cuA 2000\n", "holds a pointer")

    def test_array_without_count(self):
        self.refused("call cuA(int *a : in[n])\n\tknown cuA 2000\n", "no count n")

    def test_result_without_reply(self):
        self.refused("call cuA(int *a : out)\n\tknown cuA 2000\n\tno-reply\n", "needs a reply")

    def test_span_of_unknown_parameter(self):
        self.refused("call cuA(CUdeviceptr a : device[n])\n\tknown cuA 2000\n", "no parameter n")

    def test_twice(self):
        good = "call cuA(int a)\n\tknown cuA 2000\n"
        self.refused(good + good, "there already", LINE + 2)

    def test_known_twice(self):
        self.refused("call cuA(int a)\n\tknown cuA 2000\ncall cuB(int a)\n\tknown cuA 2000\n",
                     "known twice", LINE + 2)

    def test_end_of_no_handle(self):
        self.refused("call cuA(int a : end)\n\tknown cuA 2000\n", "no handle")

    def test_unclosed_type(self):
        self.refused("enum E\n\tA = 1\n", "has no .end.")

    def test_message_of_a_c_type(self):
        self.refused("message m(size_t a)\n", "a message holds")


if __name__ == "__main__":
    unittest.main()
