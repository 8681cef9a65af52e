# nifti: images of one byte a voxel, 4 x 2 x 1, made with printf. For convert.sh and layouts.sh.
# shellcheck shell=sh

nifti() { # BYTES [VOLUMES]
    printf '\134\001\000\000'; head -c 36 /dev/zero                                  # 348 ...
    # shellcheck disable=SC2059 # 3 or 4 dimensions: 4 x 2 x 1
    if [ "${2:-1}" = 1 ]; then printf '\003\000\004\000\002\000\001\000\001\000\001\000\001\000\001\000'
    else printf "\\004\\000\\004\\000\\002\\000\\001\\000\\00$2\\000\\001\\000\\001\\000\\001\\000"; fi
    head -c 14 /dev/zero; printf '\002\000\010\000'; head -c 2 /dev/zero             # unsigned bytes
    printf '\000\000\200\077\000\000\200\077\000\000\200\077\000\000\200\077'        # 1 mm
    head -c 16 /dev/zero; printf '\000\000\260\103'; head -c 232 /dev/zero           # data from byte 352
    printf 'n+1\000\000\000\000\000'
    # shellcheck disable=SC2059 # the bytes
    printf "$1"
}
