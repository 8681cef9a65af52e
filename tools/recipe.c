/* recipe: the key table of recipes; what goes over single keys is in recipe_check.c. */
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

/* ---- the table --------------------------------------------------------------------------------------------------------- */

#define TEXT(where, field, deflt, text) {.name = #field, .type = KEY_TEXT, .offset = offsetof(where, field), \
    .size = sizeof(((where *)0)->field), .def = deflt, .help = text}

static const key table_keys[] = {
    TEXT(recipe_table, name, NULL, "what templates call it: {NAME.column}"),
    TEXT(recipe_table, file, NULL, "CSV or XLSX file, relative to the source folder"),
    TEXT(recipe_table, sheet, "", "sheet of an XLSX file; empty: the first"),
    {.name = "match", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_table, match), .size = RECIPE_JOINS, .item_bytes = 128, .least = 1,
     .count_offset = offsetof(recipe_table, n_match), .help = "the row of an image: \"column = template\", all of them"},
    {.name = "line", .type = KEY_LINE, .offset = offsetof(recipe_table, line)},
    {0}};

static const key label_keys[] = {
    TEXT(recipe_label, name, NULL, "name of the label set"),
    {.name = "kind", .type = KEY_TEXT, .offset = offsetof(recipe_label, kind), .size = 20,
     .choices = "classification|multilabel|regression|segmentation|detection", .help = "what the label is"},
    {.name = "source", .type = KEY_TEXT, .offset = offsetof(recipe_label, source), .size = 12, .choices = "value|columns|mask|voc|yolo|coco|npz|npy|regions",
     .help = "where it comes from: a value (folder name, table column), a table with one column per class, mask files, Pascal VOC files, YOLO text files (a class number is a "
             "place in classes; behind the background, if these are masks; or is mapped), one COCO file, the "
             "arrays of an NPZ file in MedMNIST's form (train_images, train_labels, val_..., test_...: each image a sample, named by {split} and {index}; classes are numbered in "
             "order, several labels are one column each), a numpy array beside that of the images (images.arrays), a GeoJSON file of regions on a slide (as QuPath exports them: polygons with a classification). Masks from YOLO and COCO: polygons and runs, a later object "
             "of the file covers an earlier one"},
    TEXT(recipe_label, value, "", "source \"value\": template, \"{class}\" or \"{table.column}\"; source \"columns\": name of the table, whose columns have the "
         "classes' names"),
    {.name = "yes", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_label, yes), .size = RECIPE_WORDS, .item_bytes = 64, .def = "[\"1\", \"1.0\"]",
     .count_offset = offsetof(recipe_label, n_yes), .help = "columns: cells that say the class is there"},
    {.name = "no", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_label, no), .size = RECIPE_WORDS, .item_bytes = 64, .def = "[\"0\", \"0.0\"]",
     .count_offset = offsetof(recipe_label, n_no), .help = "columns: cells that say it is not; those of `missing` say nothing about this class"},
    TEXT(recipe_label, separator, "", "multilabel: text between the values; empty: one value"),
    TEXT(recipe_label, file, "", "other sources: path pattern; may use the names of images.files. Several mask files of one image are merged; "
         "a pattern that ends with / finds a DICOM series of masks"),
    TEXT(recipe_label, image_name, "{file}", "coco: file_name of an image, a template"),
    {.name = "share", .type = KEY_FLOAT, .offset = offsetof(recipe_label, share), .def = "0.5", .lo = 0, .hi = 1,
     .help = "regions, classification: a tile has the class that covers most of it, if that is at least this share; else it has no such label"},
    {.name = "one_based", .type = KEY_BOOL, .offset = offsetof(recipe_label, one_based), .def = "true",
     .help = "voc: pixels count from 1 and both corners belong to the object; false: the numbers are pixel edges"},
    {.name = "required", .type = KEY_BOOL, .offset = offsetof(recipe_label, required), .def = "true",
     .help = "an image without this label is skipped; false: it is kept and marked as unlabelled"},
    {.name = "min_box", .type = KEY_FLOAT, .offset = offsetof(recipe_label, min_box), .def = "1", .lo = 0, .hi = 1e6,
     .help = "detection: boxes with a shorter side (in source pixels, after clipping to the image) are dropped and counted"},
    {.name = "lo", .type = KEY_FLOAT, .offset = offsetof(recipe_label, lo), .def = "0", .help = "regression: range of the value; losses are divided by hi - lo"},
    {.name = "hi", .type = KEY_FLOAT, .offset = offsetof(recipe_label, hi), .def = "1", .help = "regression: see lo"},
    TEXT(recipe_label, where, "", "volumes: a segmentation label; only slices with enough of it carry this label"),
    {.name = "where_share", .type = KEY_FLOAT, .offset = offsetof(recipe_label, where_share), .def = "0.5", .lo = 0, .hi = 1,
     .help = "enough: at least this share of the area that the volume's fullest slice has"},
    {.name = "classes", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_label, classes), .size = RECIPE_CLASSES, .item_bytes = 64, .def = "",
     .count_offset = offsetof(recipe_label, n_classes), .help = "class names in order; segmentation: the first is the background"},
    {.name = "map", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_label, map), .size = RECIPE_MAPS, .item_bytes = 160, .def = "",
     .count_offset = offsetof(recipe_label, n_map),
     .help = "\"value in the source -> class\" for values that are no class name themselves; masks: \"255 -> nucleus\", \"9 -> ignore\"; "
             "without a map a mask's values are class numbers. \"#ff0000 -> tumour\" in all lines: masks by colour, black is background"},
    {.name = "threshold", .type = KEY_FLOAT, .offset = offsetof(recipe_label, threshold), .def = "0", .lo = 0, .hi = 1e9,
     .help = "masks of two classes with soft or noisy edges (JPEG): grey values from here on are the second class; 0: none"},
    {.name = "crowd", .type = KEY_TEXT, .offset = offsetof(recipe_label, crowd), .size = 8, .def = "ignore", .choices = "ignore|object",
     .help = "coco: a region marked iscrowd gives no box, and pixels of a mask that are ignored where no object lies; or it is an object like any other"},
    {.name = "planes", .type = KEY_INT_LIST, .offset = offsetof(recipe_label, planes), .size = RECIPE_PLANES, .count_offset = offsetof(recipe_label, n_planes),
     .def = "", .lo = 0, .hi = 65535,
     .help = "npy, masks of shape (n,H,W,K): one number, the plane that holds classes (mapped by `map`); or one plane for each class behind the background, "
             "which lies where the plane is above 0, a later one over an earlier one. Empty: the masks have one plane"},
    {.name = "missing", .type = KEY_TEXT_LIST, .offset = offsetof(recipe_label, missing), .size = RECIPE_MISSING, .item_bytes = 64, .def = "[\"\"]",
     .count_offset = offsetof(recipe_label, n_missing), .help = "values that mean: not labelled"},
    {.name = "expect", .type = KEY_INT_LIST, .offset = offsetof(recipe_label, expect), .size = RECIPE_CLASSES, .def = "",
     .count_offset = offsetof(recipe_label, n_expect),
     .help = "images per class (detection: boxes; segmentation: images that show the class) in the known source; a difference is a warning"},
    {.name = "line", .type = KEY_LINE, .offset = offsetof(recipe_label, line)},
    {0}};

#define IN(group, field) (offsetof(recipe, group.field) - offsetof(recipe, group))
#define TEXT_IN(group, field, deflt, text) {.name = #field, .type = KEY_TEXT, .offset = IN(group, field), \
    .size = sizeof(((recipe *)0)->group.field), .def = deflt, .help = text}
#define LINE_IN(group) {.name = "line", .type = KEY_LINE, .offset = IN(group, line)}

static const key image_keys[] = {
    {.name = "files", .type = KEY_TEXT_LIST, .offset = IN(images, files), .size = RECIPE_PATTERNS, .item_bytes = PATTERN_PATH, .least = 1,
     .count_offset = IN(images, n_files), .help = "path patterns: * is any text, {name} any text that gets this name; formats are told by content. A pattern that ends with / "
                                               "finds folders: each is one DICOM series, a volume"},
    {.name = "pixel", .type = KEY_TEXT, .offset = IN(images, pixel), .size = 8, .def = "u8", .choices = "u8|u16|i16|f32",
     .help = "stored type; a value that it cannot hold exactly makes the file a bad one"},
    {.name = "channels", .type = KEY_INT, .offset = IN(images, channels), .def = "3", .lo = 1, .hi = 3, .help = "1 grey or 3 colour"},
    {.name = "frames", .type = KEY_INT_LIST, .offset = IN(images, frames.at), .size = 3, .count_offset = IN(images, frames.n), .def = "", .lo = 0, .hi = 65534,
     .help = "4-D NIfTI: the volumes that become the channels, counted from 0; as many as channels says. Empty, as times: such files are refused"},
    {.name = "times", .type = KEY_INT_LIST, .offset = IN(images, times), .size = RECIPE_TIMES, .count_offset = IN(images, n_times), .def = "", .lo = 0, .hi = 65534,
     .help = "4-D NIfTI: the volumes that are images of their own, counted from 0, each to be listed (at most 64): end-diastole and end-systole of cine MR, a phase of perfusion. A file with "
             "fewer is a bad one. A mask has as many volumes as its image; or one, if one time is listed or {time} (two digits) is in its file. Other labels hold for all times, which "
             "share a split"},
    {.name = "max_side", .type = KEY_INT, .offset = IN(images, max_side), .def = "0", .lo = 0, .hi = 65535,
     .help = "larger images are stored smaller (area average), 0: as they are"},
    TEXT_IN(images, id, "{stem}", "template of the sample's id; must differ between images; NPZ: \"/{split}-{index}\" is added unless {index} is in it, arrays: \"/{index}\", slides: \"/{x},{y}\", times: \"-t{time}\""),
    TEXT_IN(images, subject, "{stem}", "template of the subject; a subject never falls into two splits; NPZ and arrays: {stem} stands for the id"),
    TEXT_IN(images, centre, "", "template of the centre"),
    {.name = "spacing", .type = KEY_FLOAT_LIST, .offset = IN(images, spacing), .size = 2, .least = 2, .def = "[0, 0]", .lo = 0, .hi = 1e6,
     .help = "pixel height and width, for formats that do not say; 0: unknown"},
    {.name = "units", .type = KEY_TEXT, .offset = IN(images, units), .size = 8, .def = "", .choices = "mm|um", .help = "of the spacing"},
    {.name = "arrays", .type = KEY_BOOL, .offset = IN(images, arrays), .def = "false",
     .help = "the files are numpy arrays (.npy) of shape (n,H,W), (n,H,W,1) or (n,H,W,3): each image is a sample, named by {index}; floating-point numbers too, where "
             "`pixel` can hold them exactly (their range.rule is \"window\" or \"percentile\")"},
    LINE_IN(images),
    {0}};

static const key slide_keys[] = {
    {.name = "mpp", .type = KEY_FLOAT, .offset = IN(slide, mpp), .def = "0", .lo = 0, .hi = 1000,
     .help = "images are whole slides, of which each tile becomes a sample, named by {x} and {y} (its corner in pixels of the finest level): micrometres per pixel of a tile, "
             "averaged from the nearest finer level; 0: no slides"},
    {.name = "tile", .type = KEY_INT, .offset = IN(slide, tile), .def = "256", .lo = 16, .hi = 8192,
     .help = "side of a tile in pixels; tiles lie side by side, those cut by the edge are left out"},
    {.name = "tissue", .type = KEY_FLOAT, .offset = IN(slide, tissue), .def = "0.5", .lo = 0, .hi = 1,
     .help = "least share of a tile that is tissue: more saturated than Otsu's threshold over the slide's tiles, and than 0.05; 0: all tiles"},
    LINE_IN(slide),
    {0}};

static const key range_keys[] = {
    {.name = "rule", .type = KEY_TEXT, .offset = IN(range, rule), .size = 12, .def = "dtype", .choices = "dtype|window|percentile",
     .help = "intensities that load time maps to 0 and 1: what the source's type can hold, lo and hi themselves, or percentiles of each "
             "image or volume"},
    {.name = "lo", .type = KEY_FLOAT, .offset = IN(range, lo), .def = "0", .help = "window: intensity; percentile: 0 to 100"},
    {.name = "hi", .type = KEY_FLOAT, .offset = IN(range, hi), .def = "100", .help = "see lo"},
    LINE_IN(range),
    {0}};

static const key slice_keys[] = {
    {.name = "axis", .type = KEY_TEXT, .offset = IN(slices, axis), .size = 12, .def = "axial", .choices = "axial|coronal|sagittal",
     .help = "volumes: the plane that becomes a sample"},
    {.name = "every", .type = KEY_INT, .offset = IN(slices, every), .def = "1", .lo = 1, .hi = 65535, .help = "take every n-th slice"},
    TEXT_IN(slices, label, "", "segmentation label that tells empty slices; empty: the first one"),
    {.name = "min_foreground", .type = KEY_INT, .offset = IN(slices, min_foreground), .def = "1", .lo = 1, .hi = INT32_MAX,
     .help = "slices with fewer foreground pixels count as empty"},
    {.name = "empty", .type = KEY_TEXT, .offset = IN(slices, empty), .size = 8, .def = "keep", .choices = "keep|drop|cap",
     .help = "empty slices: keep all, drop all, or keep at most empty_share of the volume's full ones, evenly spread"},
    {.name = "empty_share", .type = KEY_FLOAT, .offset = IN(slices, empty_share), .def = "0.25", .lo = 0, .hi = 1000, .help = "empty = \"cap\": see there"},
    LINE_IN(slices),
    {0}};

static const key split_keys[] = {
    {.name = "fractions", .type = KEY_FLOAT_LIST, .offset = IN(split, fractions), .size = 3, .least = 3, .def = "[0.7, 0.15, 0.15]", .lo = 0, .hi = 1,
     .help = "train, validation, test; of the images, by whole subjects"},
    {.name = "seed", .type = KEY_INT, .offset = IN(split, seed), .size = 8, .def = "1", .help = "of the order in which subjects are dealt"},
    TEXT_IN(split, stratify, "", "label whose classes get even shares; empty: the first that has classes per image or boxes"),
    TEXT_IN(split, value, "", "template of the split that the publisher gives an image: \"{part}\" or \"{table.column}\"; empty: all are dealt; NPZ: \"{split}\""),
    {.name = "map", .type = KEY_TEXT_LIST, .offset = IN(split, map), .size = RECIPE_SPLIT_MAPS, .item_bytes = 64, .def = "",
     .count_offset = IN(split, n_map),
     .help = "\"value -> train\", \"-> val\", \"-> test\" or \"-> rest\" for values that are none of train, val and test; the rest is dealt by fractions"},
    {.name = "folds", .type = KEY_INT, .offset = IN(split, folds), .def = "0", .lo = 0, .hi = RECIPE_FOLDS,
     .help = "k: what is not test (fractions[2]) is dealt to k equal folds, of which one validates and the others train; 0: no folds"},
    {.name = "fold", .type = KEY_INT, .offset = IN(split, fold), .def = "0", .lo = 0, .hi = RECIPE_FOLDS - 1,
     .help = "number of the fold that validates, from 0"},
    LINE_IN(split),
    {0}};

#define COUNT_IN(field, text) {.name = #field, .type = KEY_INT, .offset = IN(expect, field), .size = 8, .def = "-1", .lo = -1, .hi = 1e15, .help = text}
static const key expect_keys[] = {
    COUNT_IN(images, "images (or volumes) taken"), COUNT_IN(samples, "samples (2-D images or slices) written"),
    COUNT_IN(subjects, "subjects"), COUNT_IN(skipped, "files skipped"),
    {0}};

#define GROUP(field, keys, text) {.name = #field, .type = KEY_GROUP, .offset = offsetof(recipe, field), .def = "", .sub = keys, .help = text}
static const key recipe_keys[] = {
    TEXT(recipe, name, NULL, "name of the data set and of its folder"),
    TEXT(recipe, title, NULL, "one line for people"),
    TEXT(recipe, modality, NULL, "CT, MR, X-ray, histology, fluorescence, blood smear, ...: picks the preset of augmentation"),
    TEXT(recipe, licence, NULL, "licence of images and labels"),
    TEXT(recipe, citation, "", "what to cite"),
    TEXT(recipe, origin, "", "where the files come from"),
    {.name = "images", .type = KEY_GROUP, .offset = offsetof(recipe, images), .sub = image_keys, .help = "the files"},
    {.name = "tables", .type = KEY_GROUP_LIST, .offset = offsetof(recipe, table), .size = RECIPE_TABLES, .def = "", .sub = table_keys,
     .sub_bytes = sizeof(recipe_table), .count_offset = offsetof(recipe, n_tables), .help = "CSV and XLSX tables joined to the images"},
    GROUP(slide, slide_keys, "whole slides"),
    GROUP(range, range_keys, "intensities that become 0 and 1"),
    GROUP(slices, slice_keys, "how volumes become samples"),
    {.name = "labels", .type = KEY_GROUP_LIST, .offset = offsetof(recipe, label), .size = SHARD_MAX_LABELS, .sub = label_keys,
     .sub_bytes = sizeof(recipe_label), .count_offset = offsetof(recipe, n_labels), .def = "", .help = "label sets of the images; none: images to embed, not to learn from"},
    GROUP(split, split_keys, "training, validation, test"),
    {.name = "on_error", .type = KEY_TEXT, .offset = offsetof(recipe, on_error), .size = 8, .def = "skip", .choices = "skip|fatal",
     .help = "a bad or unlabelled file: is named, counted and skipped, or ends the conversion"},
    GROUP(expect, expect_keys, "counts of the known source; a difference is a warning"),
    {0}};

status recipe_load(recipe **out, const char *path)
{
    recipe *r;
    *out = NULL;
    TRY(mem_alloc(&r, sizeof *r, "a recipe"), "%s", path);
    status st = config_load(path, recipe_keys, r, NULL, 0, recipe_check);
    if (!st) st = sha256_file(path, r->sha256);
    if (st) {
        free(r);
        return st;
    }
    snprintf(r->file, sizeof r->file, "%s", path);
    *out = r;
    return OK;
}

status recipe_print(const recipe *r, FILE *out) { return config_print(recipe_keys, r, out); }

status recipe_explain(FILE *out)
{
    return config_explain(recipe_keys, out);
}
