# SPDX-License-Identifier: Apache-2.0
"""Writer of docs/cuda-coverage.md: what is offered, how it travels, where it is tested."""


def _way(call):
    if call.local:
        return 'by hand'
    words = ['remembered' if 'cached' in call.words else 'answered' if call.reply else 'issued']
    if 'settles' in call.words:
        words.append('settles')
    if 'waits' in call.words:
        words.append('may wait')
    return ', '.join(words)


def coverage_page(api):
    """One line a function; the page is committed, and a test compares it with this."""
    names = {known[0] for call in api.calls for known in call.known}
    out = ['# Functions of the CUDA driver interface', '',
           'Generated from `proto/cuda.api` by `gen/generate.py proto/cuda.api coverage '
           'docs/cuda-coverage.md`; do not edit.', '',
           f'{len(names)} functions under {sum(1 + bool(c.variant) for c in api.calls)} exported '
           'symbols. What is not here is not found by cuGetProcAddress, so a runtime reports it as '
           'not supported.', '',
           '- **by hand**: a body in cuda/client; it answers from what the client knows, or sends a '
           'message of its own.',
           '- **answered**: one request, one reply. **issued**: a request without reply; a failure is '
           'reported late. **remembered**: asked once for the same arguments.',
           '- **settles**: returns a late error. **may wait**: other threads are served meanwhile.', '',
           'Every generated function has a round trip through encoder and decoder in '
           'tests/unit/test_cuda_round_trip.c; the last column names further tests. What a CUDA runtime calls '
           'is also tested by the programs of tests/programs over every link.', '',
           '| symbol | looked up as | way | tested by |', '|---|---|---|---|']
    for call in sorted(api.calls, key=lambda c: c.symbol):
        known = ', '.join(f'{name} {version}' for name, version, _, _ in call.known)
        if call.variant:
            known += f', {call.variant}'
        out.append(f'| {call.symbol} | {known} | {_way(call)} | {" ".join(name.rsplit("/", 1)[1] for name in call.tested)} |')
    return '\n'.join(out + [''])


def coverage_table(api):
    """cuda_coverage.c: the same for `causeway cuda coverage`, one row a function."""
    out = ['/* Generated from proto/cuda.api; do not edit. */', '#include "gen/cuda_coverage.h"', '',
           'const struct cuda_coverage cuda_coverage[] = {']
    for call in sorted(api.calls, key=lambda c: c.symbol):
        cells = [call.symbol, 'by hand' if call.local else 'generated',
                 'yes' if 'cached' in call.words else 'no', 'no' if call.reply else 'yes',
                 ' '.join(name.rsplit('/', 1)[1] for name in call.tested) or
                 ('' if call.local else 'test_cuda_round_trip.c')]
        out.append('\t{ ' + ', '.join(f'"{cell}"' for cell in cells) + ' },')
    out += ['};', '', 'const unsigned int cuda_coverage_count = '
            'sizeof(cuda_coverage) / sizeof(cuda_coverage[0]);', '']
    return '\n'.join(out)
