#!/bin/sh
# layers: who includes what (design, section 2): foreign headers behind one door each, our own in one direction. TAP.
# Usage: layers.sh SOURCE-ROOT
cd "$1" || exit 1
n=0
bad=0

# result NAME OFFENDING-LINES
result() {
    n=$((n + 1))
    if [ -z "$2" ]; then echo "ok $n - $1"; else bad=1; echo "$2" | sed 's/^/# /'; echo "not ok $n - $1"; fi
}

# door HEADER FOLDER: only files of FOLDER include <HEADER>
door() {
    result "$(echo "$1" | tr -d '\\#') only in $2" "$(grep -rnE "#include <$1" src tools include --include='*.[ch]' | grep -v "^$2/")"
}
door 'mpi\.h' src/comm
door 'hdf5\.h|#include <H5' src/store
door 'cblas\.h' src/kern
door 'dnnl\.h' src/kern
door 'libconfig\.h' src/config
door 'png\.h' tools
door 'jpeglib\.h' tools
door 'expat\.h' tools
result "jansson.h only in tools and the safetensors files" "$(grep -rnE '#include <jansson\.h' src tools include --include='*.[ch]' |
    grep -vE '^(tools/|src/store/safetensors)')"
door 'zip\.h' tools
door 'libdeflate\.h' src/store
door 'isa-l/' src/store
door 'openslide\.h' tools

# room NAME HEADER...: what files of src/NAME and their public headers may include of include/medley
room() {
    name=$1
    shift
    allowed=$(echo "$*" | sed 's/ /|/g')
    result "$name includes only: $*" "$(grep -rnE '#include "medley/' "src/$name" include/medley/"$name"*.h 2>/dev/null |
        grep -vE "#include \"medley/($allowed)\.h\"")"
}
kern='kern|kern_[a-z]+'
room core core batch command
room config core config
room kern core "$kern"
room store core batch store
room comm core comm
room data core batch store data
room model core "$kern" model
room task core batch "$kern" model task
room train core batch "$kern" model task config store comm data train
result "the program knows only its commands" "$(grep -n '#include "' src/main.c | grep -vE 'medley/(command|use)\.h')"
headers=$(cd tools && printf '%s|' *.h | sed 's/\./\\./g; s/|$//')
result "of tools, src/use sees readers.h, tiles.h, their module, writers.h and thumbnail.h only" "$(grep -rnE "#include \"($headers)\"" src include --include='*.[ch]' |
    grep -vE '^src/use/[a-z_]+\.[ch]:[0-9]+:#include "(readers|readers_module|tiles|writers|thumbnail)\.h"')"
result "tools know neither MPI nor the model" "$(grep -rnE '#include "medley/(comm|model|task|train|use|kern[a-z_]*)\.h"' tools)"
echo "1..$n"
exit $bad
