/* main: the `medley-data` command: a table of subcommands, no logic. */
#include "commands.h"
#include "medley_build.h"

#include "medley/command.h"

static const command_entry commands[] = {
    {"convert", cmd_convert, "source files and a recipe become shards"},
    {"index", cmd_index, "the parts of a conversion (convert --part) become one data set"},
    {"synth", cmd_synth, "a small learnable stand-in for real data, as source files and as shards"},
    {"verify", cmd_verify, "checksums, ranges, label consistency and split leakage of shards"},
    {"info", cmd_info, "what a data set folder or a shard holds"},
    {"inspect", cmd_inspect, "contact sheet with masks, boxes and class names drawn in"},
    {0},
};

static void put_version(FILE *out)
{
    fprintf(out, "medley-data %s (%s)\nreads: NIfTI, DICOM, BMP", MEDLEY_VERSION, MEDLEY_BUILD);
#ifdef HAVE_PNG
    fprintf(out, ", PNG");
#endif
#ifdef HAVE_JPEG
    fprintf(out, ", JPEG");
#endif
#ifdef HAVE_TIFF
    fprintf(out, ", TIFF");
#endif
#ifdef HAVE_GDCM
    fprintf(out, ", JPEG in DICOM");
#endif
#ifdef HAVE_ZIP
    fprintf(out, ", NPZ");
#endif
#ifdef HAVE_OPENSLIDE
    fprintf(out, ", slides");
#endif
    fprintf(out, "; labels: CSV, masks");
#ifdef HAVE_EXPAT
    fprintf(out, ", Pascal VOC");
#endif
    fprintf(out, ", COCO, YOLO, GeoJSON");
#if defined(HAVE_ZIP) && defined(HAVE_EXPAT)
    fprintf(out, ", XLSX");
#endif
    fprintf(out, "\n");
}

static const command_program medley_data = {
    .name = "medley-data",
    .purpose = "shards of biomedical images for medley",
    .about = "Makes and looks after the shards that `medley` trains on.",
    .exits = "Exit status: 0 done, 2 usage or recipe, 3 data, 4 resources, 70 internal.",
    .see_also = ".BR medley (1)",
    .version = put_version,
    .commands = commands,
};

int main(int argc, char **argv) { return command_main(&medley_data, argc, argv); }
