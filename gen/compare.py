#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""compare.py API COMPILER: proto/cuda.api against NVIDIA's cuda.h, where there is one.

Every signature, enum value, structure layout and look-up version is compared; and no newer version
of a function that we describe may be missing, because a runtime that asks for it would be given the
older one. Exit status 77 without a header of the version that the file describes.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import api as api_module  # noqa: E402
import write_checks  # noqa: E402


def find_header():
    for root in (os.environ.get('CUDA_HOME'), os.environ.get('CUDA_PATH'), '/usr/local/cuda'):
        if root and (pathlib.Path(root) / 'include' / 'cuda.h').is_file():
            return pathlib.Path(root) / 'include'
    return None


def skip(reason):
    print(f'skipped: {reason}')
    sys.exit(77)


def missing_versions(api, folder):
    """Sentences about newer versions of known functions that the API does not describe."""
    ours = write_checks.newest_known(api)
    typedefs = (folder / 'cudaTypedefs.h').read_text()
    found = []
    for name, version in re.findall(r'PFN_(cu\w+?)_v(\d+)\)', typedefs):
        if name in ours and int(version) > ours[name]:
            found.append(f'{name}: version {version} is not described, {ours[name]} is the newest')
    return found


def main():
    api = api_module.Api(sys.argv[1])
    folder = find_header()
    if not folder:
        skip('no cuda.h in $CUDA_HOME/include or /usr/local/cuda/include')
    version = re.search(r'#define CUDA_VERSION (\d+)', (folder / 'cuda.h').read_text())
    ours = next(c.value for c in api.constants if c.name == 'CUDA_VERSION')
    if not version or version.group(1) != ours:
        skip(f'{folder}/cuda.h is of version {version and version.group(1)}, cuda.api of {ours}')
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(temporary) / 'compare.c'
        source.write_text(write_checks.compare_source(api))
        result = subprocess.run([sys.argv[2], '-std=gnu11', '-fsyntax-only', '-w', f'-I{folder}', str(source)],
                                capture_output=True, text=True, check=False)
    sentences = missing_versions(api, folder)
    for sentence in sentences:
        print(sentence)
    if result.returncode:
        print(result.stderr[:8000])
    print(f'{len(api.calls)} functions, {len(api.types)} types compared with {folder}/cuda.h')
    return 1 if result.returncode or sentences else 0


if __name__ == '__main__':
    sys.exit(main())
