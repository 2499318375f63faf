#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# SPDX-FileCopyrightText: The piommu authors
#
# Shows check-sources.sh one sound source tree and, for each thing that it looks for, one that has it.
set -euo pipefail

check=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/check-sources.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

mkdir -p "$work/sound"/{lib/{base,core,fdt,virtio},backends/{some-iommu,other},models/{one,include/piommu/models},tests/support}
(
    cd "$work/sound"
    printf '#include <stdint.h>\n#include <piommu/os.h>\n#include "core.h"\n#include "../base/host.h"\n' >lib/core/a.c
    printf '#include <libfdt.h>\n' >lib/fdt/fdt.c
    printf '#  include "../../lib/virtio/virtio.h"\n#include <stdatomic.h>\n' >backends/some-iommu/b.c
    printf '#include <stdio.h>\n#include <piommu/models/one.h>\n#include "internal.h"\n' >models/one/model.c
    printf '#include <piommu/models/two.h>\n#include <stdbool.h>\n' >models/include/piommu/models/one.h
    printf '#include <stdio.h>\n#include "model.h"\n#include <piommu/backend.h>\n' >tests/support/model.c
    printf '# a line\n\ncore lib/core/a.c\nfdt lib/fdt/fdt.c\nsome-iommu backends/some-iommu/b.c\none models/one/model.c\n' \
        >sources.txt
)
"$check" "$work/sound" || status=1

# expect FILE LINE PATTERN: with LINE added to FILE, the check fails and says PATTERN.
expect()
{
    rm -rf "$work/bad"
    cp -r "$work/sound" "$work/bad"
    printf '%s\n' "$2" >>"$work/bad/$1"
    if "$check" "$work/bad" >"$work/out" 2>&1 || ! grep -q "$3" "$work/out"; then
        echo "not found: $2 in $1"
        cat "$work/out"
        status=1
    else
        echo "as expected: $(<"$work/out")"
    fi
}

expect lib/core/a.c '#include <string.h>' 'string.h>, which a host'
expect lib/core/a.h ' # include<stdlib.h>' 'stdlib.h>, which a host'
expect lib/core/a.c '#include <libfdt.h>' 'libfdt.h>, which a host'
expect backends/other/c.h '#include <errno.h>' 'errno.h>, which a host'
expect lib/core/a.c '#include HEADER' 'cannot be seen'
expect lib/core/a.c '#include "../fdt/fdt.h"' 'private to another part'
expect lib/core/a.c '#include "../../backends/other/c.h"' 'private to another part'
expect lib/base/host.h '#include <piommu/some-iommu.h>' 'names the backend some-iommu'
expect lib/base/host.h 'int piommu_some_iommu_start(void);' 'names the backend some-iommu'
expect backends/some-iommu/b.c '#include "../other/c.h"' 'private to another part'
expect backends/some-iommu/b.c '#include "../../lib/core/core.h"' 'private to another part'
expect models/one/model.c '#include <piommu/types.h>' 'a model includes <piommu/types.h>'
expect models/one/internal.h '#include <unistd.h>' 'a model includes <unistd.h>'
expect models/one/model.c '#include "../../lib/base/host.h"' 'a model includes lib/base/host.h'
expect models/one/model.c '#include "../two/internal.h"' 'a model includes models/two'
expect models/include/piommu/models/one.h '#include <piommu/os.h>' 'a model includes <piommu/os.h>'
expect models/one/model.c '#include HEADER' 'a model includes what cannot be seen'
expect tests/support/model.c '#include "../../lib/core/core.h"' 'the judge includes'
expect tests/support/model.h '#include <backends/other/c.h>' 'the judge includes'
expect tests/support/model.c '#include "../unit/fixture.h"' 'the judge includes'
expect models/one/new.c '' 'sources.txt against'
expect lib/core/new.c '' 'sources.txt against'
expect sources.txt 'core lib/core/gone.c' 'sources.txt against'
expect sources.txt 'dma lib/core/a.c' 'sources.txt against'
expect sources.txt '  core lib/core/a.c' 'sources.txt against'

exit "$status"
