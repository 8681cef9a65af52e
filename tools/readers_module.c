/* readers_module: the table of the module. */
#include "readers_module.h"

#include "medley_build.h"

extern const readers_module medley_readers;
const readers_module medley_readers = {
    .version = MEDLEY_VERSION, .image_read_frames = image_read_frames, .image_is_series = image_is_series, .slide_file_kind = slide_file_kind,
    .tiling_open = tiling_open, .tiling_close = tiling_close, .tiling_grid = tiling_grid, .tiling_tissue = tiling_tissue, .tiling_read = tiling_read};
