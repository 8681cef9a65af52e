/* recipe: the key table of recipes, and the checks that go over single keys. */
#include "recipe.h"

#include <math.h>
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
    {.name = "source", .type = KEY_TEXT, .offset = offsetof(recipe_label, source), .size = 12, .choices = "value|columns|mask|voc|yolo|coco|npz|regions",
     .help = "where it comes from: a value (folder name, table column), a table with one column per class, mask files, Pascal VOC files, YOLO text files (a class number is a "
             "place in classes; behind the background, if these are masks; or is mapped), one COCO file, the "
             "arrays of an NPZ file in MedMNIST's form (train_images, train_labels, val_..., test_...: each image a sample, named by {split} and {index}; classes are numbered in "
             "order, several labels are one column each), a GeoJSON file of regions on a slide (as QuPath exports them: polygons with a classification). Masks from YOLO and COCO: polygons and runs, a later object "
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
     .help = "4-D NIfTI: the volumes that become the channels, counted from 0; as many as channels says. Empty: such files are refused"},
    {.name = "max_side", .type = KEY_INT, .offset = IN(images, max_side), .def = "0", .lo = 0, .hi = 65535,
     .help = "larger images are stored smaller (area average), 0: as they are"},
    TEXT_IN(images, id, "{stem}", "template of the sample's id; must differ between images; NPZ: \"/{split}-{index}\" is added unless {index} is in it, slides: \"/{x},{y}\""),
    TEXT_IN(images, subject, "{stem}", "template of the subject; a subject never falls into two splits; NPZ: {stem} stands for the id"),
    TEXT_IN(images, centre, "", "template of the centre"),
    {.name = "spacing", .type = KEY_FLOAT_LIST, .offset = IN(images, spacing), .size = 2, .least = 2, .def = "[0, 0]", .lo = 0, .hi = 1e6,
     .help = "pixel height and width, for formats that do not say; 0: unknown"},
    {.name = "units", .type = KEY_TEXT, .offset = IN(images, units), .size = 8, .def = "", .choices = "mm|um", .help = "of the spacing"},
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

/* ---- checks that see more than one key ------------------------------------------------------------------------------------ */

bool split_pair(const char *text, const char *mark, char *left, char *right, size_t room)
{
    const char *at = strstr(text, mark);
    if (!at) return false;
    const char *end = at, *rest = at + strlen(mark);
    while (*text == ' ') text++;
    while (end > text && end[-1] == ' ') end--;
    rest += strspn(rest, " ");
    size_t n = strlen(rest);
    while (n > 0 && rest[n - 1] == ' ') n--;
    snprintf(left, room, "%.*s", (int)(end - text), text);
    snprintf(right, room, "%.*s", (int)n, rest);
    return true;
}

int recipe_label_find(const recipe *r, const char *name)
{
    for (int i = 0; i < r->n_labels; i++)
        if (!strcmp(r->label[i].name, name)) return i;
    return -1;
}

int recipe_table_find(const recipe *r, const char *name)
{
    for (int i = 0; i < r->n_tables; i++)
        if (!strcmp(r->table[i].name, name)) return i;
    return -1;
}

int label_class_find(const recipe_label *l, const char *name)
{
    for (int i = 0; i < l->n_classes; i++)
        if (!strcmp(l->classes[i], name)) return i;
    return -1;
}

typedef struct names_check {
    const recipe *r;
    bool captures;   /* may use the names of images.files */
    bool tables;     /* may use {table.column} */
    char unknown[64];
} names_check;

typedef struct search { const char *name; bool hit; } search;

static status is_same(void *ctx, const char *name)
{
    search *s = ctx;
    s->hit |= !strcmp(s->name, name);
    return OK;
}

static status is_known(void *ctx, const char *name)
{
    names_check *c = ctx;
    static const char *const always[] = {"path", "file", "stem", "folder"}, *const parts[][2] = {[FORM_NPZ] = {"split", "index"}, [FORM_SLIDE] = {"x", "y"}};
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(name, always[i])) return OK;
    for (size_t i = 0; i < 2 && c->r->form != FORM_FILES; i++)
        if (!strcmp(name, parts[c->r->form][i])) return OK;
    const char *dot = strchr(name, '.');
    for (int i = 0; dot && c->tables && i < c->r->n_tables; i++)
        if (strlen(c->r->table[i].name) == (size_t)(dot - name) && !strncmp(c->r->table[i].name, name, (size_t)(dot - name))) return OK;
    bool in_all = c->captures && !dot;
    for (int i = 0; in_all && i < c->r->images.n_files; i++) {
        search s = {.name = name};
        in_all = pattern_names(c->r->images.files[i], is_same, &s) == OK && s.hit;
    }
    if (!in_all) snprintf(c->unknown, sizeof c->unknown, "%s", name);
    return OK;
}

static void check_template(const recipe *r, config_faults *f, int line, const char *where, const char *text, bool tables)
{
    names_check c = {.r = r, .captures = true, .tables = tables};
    if (pattern_names(text, is_known, &c)) config_fault(f, line, where, "%s", status_message());
    else if (*c.unknown)
        config_fault(f, line, where, "{%s} is no name in images.files, no column \"table.column\" of a table in this recipe, and none of "
                     "{path}, {file}, {stem}, {folder}", c.unknown);
}

/* Absolute, or up and away. */
static bool leads_out(const char *path) { return *path == '/' || strstr(path, ".."); }

/* "#rrggbb" */
static bool colour_of(const char *text, uint32_t *out)
{
    char *end;
    if (*text != '#' || strlen(text) != 7 || strspn(text + 1, "0123456789abcdefABCDEF") != 6) return false;
    *out = (uint32_t)strtoul(text + 1, &end, 16);
    return true;
}

/* A mask's value, or its colour: all lines of a map are of one kind. */
static void check_mask_value(recipe_label *l, int m, const char *from, const char *to, config_faults *f, const char *where)
{
    char *end;
    long v = strtol(from, &end, 10);
    if (l->by_colour && colour_of(from, &l->colour[m])) l->colour_class[m] = (int16_t)(strcmp(to, "ignore") ? label_class_find(l, to) : IGNORE_MASK);
    else if (l->by_colour) config_fault(f, l->line, where, "\"%s\" is no colour \"#rrggbb\", as the first line has", from);
    else if (end == from || *end || v < -32768 || v > 65535) config_fault(f, l->line, where, "\"%s\" is no mask value", from);
}

static void check_label(recipe *r, int i, config_faults *f)
{
    recipe_label *l = &r->label[i];
    char where[64];
    static const char *const sources[N_TASK_KINDS] = {"value|columns|npz|regions", "value|columns|npz", "value|npz", "mask|yolo|coco|regions", "voc|yolo|coco"};
#define KEY(field) (snprintf(where, sizeof where, "labels[%d]." field, i), where)
    l->task = (enum task_kind)task_kind_find(l->kind);
    if ((int)l->task < 0) return;
    if (*l->source && !strstr(sources[l->task], l->source))
        config_fault(f, l->line, KEY("source"), "kind \"%s\" comes from \"%s\"", l->kind, sources[l->task]);
    bool value = !strcmp(l->source, "value"), columns = !strcmp(l->source, "columns"), npz = !strcmp(l->source, "npz");
    if (value && !*l->value) config_fault(f, l->line, KEY("value"), "missing; source \"value\" needs a template");
    if (columns && recipe_table_find(r, l->value) < 0) config_fault(f, l->line, KEY("value"), "\"%s\" is no table of this recipe", l->value);
    if (!value && !columns && !npz && !*l->file) config_fault(f, l->line, KEY("file"), "missing; source \"%s\" needs a path pattern", l->source);
    if (leads_out(l->file)) config_fault(f, l->line, KEY("file"), "must lie under the source folder");
    check_template(r, f, l->line, KEY("value"), l->value, true);
    check_template(r, f, l->line, KEY("file"), l->file, strcmp(l->source, "coco") != 0);
    check_template(r, f, l->line, KEY("image_name"), l->image_name, true);
    if (!strcmp(l->source, "regions") && l->n_classes > IGNORE_MASK - 1) config_fault(f, l->line, KEY("classes"), "regions have at most %d", IGNORE_MASK - 1);
    int least = l->task == TASK_REGRESSION ? 0 : l->task == TASK_DETECTION || l->task == TASK_MULTILABEL ? 1 : 2;
    if (l->n_classes < least) config_fault(f, l->line, KEY("classes"), "%s needs at least %d class names", l->kind, least);
    if (l->task == TASK_REGRESSION && !(l->hi > l->lo)) config_fault(f, l->line, KEY("hi"), "must be above lo");
    if (l->task == TASK_SEGMENTATION && l->n_classes > IGNORE_MASK)
        config_fault(f, l->line, KEY("classes"), "a mask holds at most %d classes", IGNORE_MASK);
    for (int a = 0; a < l->n_classes; a++)
        for (int b = 0; b < a; b++)
            if (!strcmp(l->classes[a], l->classes[b])) config_fault(f, l->line, KEY("classes"), "\"%s\" appears twice", l->classes[a]);
    bool files = l->task == TASK_SEGMENTATION && !strcmp(l->source, "mask"); /* of values or colours; else objects have class names */
    l->by_colour = files && l->n_map > 0 && l->map[0][0] == '#';
    for (int m = 0; m < l->n_map && l->task != TASK_REGRESSION; m++) {
        char from[160], to[160];
        snprintf(where, sizeof where, "labels[%d].map[%d]", i, m);
        if (!split_pair(l->map[m], "->", from, to, sizeof from)) {
            config_fault(f, l->line, where, "\"%s\" has no arrow: \"value in the source -> class\"", l->map[m]);
            continue;
        }
        if (label_class_find(l, to) < 0 && !(l->task == TASK_SEGMENTATION && !strcmp(to, "ignore")))
            config_fault(f, l->line, where, "\"%s\" is none of the classes", to);
        else if (files) check_mask_value(l, m, from, to, f, where);
    }
    if (l->threshold > 0 && (!files || l->n_classes != 2 || l->n_map))
        config_fault(f, l->line, KEY("threshold"), "is for masks of two classes without a map");
    if (l->n_map && l->task == TASK_REGRESSION) config_fault(f, l->line, KEY("map"), "a regression label has no classes");
    if (l->n_expect && l->n_expect != l->n_classes)
        config_fault(f, l->line, KEY("expect"), "%d counts for %d classes", l->n_expect, l->n_classes);
    int area = recipe_label_find(r, l->where);
    if (*l->where && (area < 0 || strcmp(r->label[area].kind, "segmentation")))
        config_fault(f, l->line, KEY("where"), "\"%s\" is no segmentation label of this recipe", l->where);
    if (recipe_label_find(r, l->name) < i) config_fault(f, l->line, KEY("name"), "label \"%s\" is there twice", l->name);
    if (strchr(l->name, '/') || !*l->name || *l->name == '.') config_fault(f, l->line, KEY("name"), "must be a plain name");
}

static void check_table(recipe *r, int i, config_faults *f)
{
    char where[64];
    snprintf(where, sizeof where, "tables[%d].match", i);
    for (int m = 0; m < r->table[i].n_match; m++) {
        char column[128], text[128];
        if (!split_pair(r->table[i].match[m], "=", column, text, sizeof column))
            config_fault(f, r->table[i].line, where, "\"%s\" is not \"column = template\"", r->table[i].match[m]);
        else check_template(r, f, r->table[i].line, where, text, false);
    }
    snprintf(where, sizeof where, "tables[%d].file", i);
    if (leads_out(r->table[i].file)) config_fault(f, r->table[i].line, where, "must lie under the source folder");
    if (strpbrk(r->table[i].name, ".{}/")) config_fault(f, r->table[i].line, "tables", "name \"%s\" must be a plain word", r->table[i].name);
}

int recipe_split_of(const recipe *r, const char *value)
{
    char from[64], to[64];
    const char *word = value;
    for (int i = 0; i < r->split.n_map && word == value; i++)
        if (split_pair(r->split.map[i], "->", from, to, sizeof from) && !strcmp(from, value)) word = to;
    if (!strcmp(word, "rest")) return SPLIT_REST;
    for (int i = 0; i < N_SPLITS; i++)
        if (!strcmp(word, split_name[i])) return i;
    return SPLIT_UNKNOWN;
}

static void check_split(recipe *r, config_faults *f)
{
    check_template(r, f, r->split.line, "split.value", r->split.value, true);
    for (int i = 0; i < r->split.n_map; i++) {
        char where[32], from[64], to[64];
        snprintf(where, sizeof where, "split.map[%d]", i);
        if (!split_pair(r->split.map[i], "->", from, to, sizeof from) || recipe_split_of(r, from) == SPLIT_UNKNOWN)
            config_fault(f, r->split.line, where, "\"%s\" is not \"value -> train\", val, test or rest", r->split.map[i]);
    }
    if (r->split.n_map && !*r->split.value) config_fault(f, r->split.line, "split.map", "needs split.value");
    if (r->split.folds == 1) config_fault(f, r->split.line, "split.folds", "one fold is none: 0, or 2 and more");
    if (r->split.fold >= r->split.folds && r->split.fold > 0) config_fault(f, r->split.line, "split.fold", "there are %d folds, counted from 0", r->split.folds);
    double sum = r->split.fractions[0] + r->split.fractions[1] + r->split.fractions[2];
    if (!(fabs(sum - 1) < 1e-6)) config_fault(f, r->split.line, "split.fractions", "add up to %g, not to 1", sum);
    if (*r->split.stratify && recipe_label_find(r, r->split.stratify) < 0)
        config_fault(f, r->split.line, "split.stratify", "\"%s\" is no label of this recipe", r->split.stratify);
}

/* Images of one file need ids of their own, and have no subjects but themselves. */
static void name_parts(recipe *r, config_faults *f)
{
    const size_t room = sizeof r->images.id;
    r->form = FORM_FILES;
    for (int i = 0; i < r->n_labels; i++)
        if (!strcmp(r->label[i].source, "npz")) r->form = FORM_NPZ;
    if (r->slide.mpp > 0) {
        if (r->form == FORM_NPZ) config_fault(f, r->slide.line, "slide.mpp", "a slide has no label of source \"npz\"");
        r->form = FORM_SLIDE;
    }
    for (int i = 0; i < r->n_labels; i++)
        if (!strcmp(r->label[i].source, "regions") && r->form != FORM_SLIDE) config_fault(f, r->label[i].line, "slide.mpp", "regions lie on slides: say how fine");
    if (r->form == FORM_FILES) return;
    static const char *const own[] = {[FORM_NPZ] = "{index}", [FORM_SLIDE] = "{x}"}, *const add[] = {[FORM_NPZ] = "/{split}-{index}", [FORM_SLIDE] = "/{x},{y}"};
    if (!strstr(r->images.id, own[r->form])) {
        if (strlen(r->images.id) + strlen(add[r->form]) >= room) config_fault(f, r->images.line, "images.id", "is too long");
        else strcat(r->images.id, add[r->form]);
    }
    if (r->form == FORM_SLIDE) {
        if (!strcmp(r->images.units, "mm")) config_fault(f, r->images.line, "images.units", "slides are measured in um");
        else snprintf(r->images.units, sizeof r->images.units, "um");
        return;
    }
    if (!strcmp(r->images.subject, "{stem}")) snprintf(r->images.subject, room, "%s", r->images.id);
    if (!*r->split.value) snprintf(r->split.value, sizeof r->split.value, "{split}");
}

static void check(void *out, config_faults *f)
{
    recipe *r = out;
    name_parts(r, f);
    static const char *const pixel[] = {"u8", "u16", "i16", "f32"}, *const axis[] = {"axial", "coronal", "sagittal"};
    static const enum dtype type[] = {DT_U8, DT_U16, DT_I16, DT_F32};
    for (int i = 0; i < 4; i++)
        if (!strcmp(r->images.pixel, pixel[i])) r->pixel = type[i];
    for (int i = 0; i < 3; i++)
        if (!strcmp(r->slices.axis, axis[i])) r->axis = i;
    if (!*r->name || *r->name == '.' || strchr(r->name, '/')) config_fault(f, 0, "name", "must be a plain folder name");
    for (int i = 0; i < r->images.n_files; i++) {
        search s = {.name = ""};
        if (pattern_names(r->images.files[i], is_same, &s)) config_fault(f, r->images.line, "images.files", "%s", status_message());
        else if (leads_out(r->images.files[i]))
            config_fault(f, r->images.line, "images.files", "must lie under the source folder");
    }
    check_template(r, f, r->images.line, "images.id", r->images.id, true);
    check_template(r, f, r->images.line, "images.subject", r->images.subject, true);
    check_template(r, f, r->images.line, "images.centre", r->images.centre, true);
    if (r->images.frames.n && r->images.frames.n != r->images.channels)
        config_fault(f, r->images.line, "images.frames", "%d volumes for %d channels", r->images.frames.n, r->images.channels);
    if (r->images.channels == 2) config_fault(f, r->images.line, "images.channels", "1 or 3");
    if (!(r->range.hi > r->range.lo) && strcmp(r->range.rule, "dtype")) config_fault(f, r->range.line, "range.hi", "must be above range.lo");
    if (!strcmp(r->range.rule, "percentile") && (r->range.lo < 0 || r->range.hi > 100))
        config_fault(f, r->range.line, "range.lo", "percentiles go from 0 to 100");
    if (!strcmp(r->range.rule, "dtype") && r->pixel == DT_F32)
        config_fault(f, r->range.line, "range.rule", "f32 has no range of its own: say \"window\" or \"percentile\"");
    for (int i = 0; i < r->n_tables; i++) check_table(r, i, f);
    for (int i = 0; i < r->n_labels; i++) check_label(r, i, f);
    r->slice_label = recipe_label_find(r, r->slices.label);
    if (*r->slices.label && (r->slice_label < 0 || r->label[r->slice_label].task != TASK_SEGMENTATION))
        config_fault(f, r->slices.line, "slices.label", "\"%s\" is no segmentation label of this recipe", r->slices.label);
    for (int i = 0; r->slice_label < 0 && i < r->n_labels; i++)
        if (r->label[i].task == TASK_SEGMENTATION) r->slice_label = i;
    if (r->slice_label < 0 && strcmp(r->slices.empty, "keep"))
        config_fault(f, r->slices.line, "slices.empty", "without a segmentation label no slice is known to be empty");
    check_split(r, f);
}

status recipe_load(recipe **out, const char *path)
{
    recipe *r;
    *out = NULL;
    TRY(mem_alloc(&r, sizeof *r, "a recipe"), "%s", path);
    status st = config_load(path, recipe_keys, r, NULL, 0, check);
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
