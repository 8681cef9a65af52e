/* recipe_check: the faults of a recipe that one key alone does not show, and what its texts mean. */
#include "recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    static const char *const always[] = {"path", "file", "stem", "folder"}, *const parts[][2] = {[FORM_NPZ] = {"split", "index"}, [FORM_NPY] = {"index", "index"}, [FORM_SLIDE] = {"x", "y"}};
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(name, always[i])) return OK;
    if (c->r->images.n_times && !strcmp(name, "time")) return OK;
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
static bool colour_of(const char *text, int32_t *out)
{
    if (*text != '#' || strlen(text) != 7 || strspn(text + 1, "0123456789abcdefABCDEF") != 6) return false;
    *out = (int32_t)strtol(text + 1, NULL, 16);
    return true;
}

static bool mask_value_of(const char *text, int32_t *out)
{
    char *end;
    long v = strtol(text, &end, 10);
    *out = (int32_t)v;
    return end != text && !*end && v >= -32768 && v <= 65535;
}

/* A mask's value, or its colour: all lines of a map are of one kind. */
static void check_mask_value(recipe_label *l, int m, const char *from, const char *to, config_faults *f, const char *where)
{
    l->mask_class[m] = (int16_t)(strcmp(to, "ignore") ? label_class_find(l, to) : IGNORE_MASK);
    if (l->by_colour ? colour_of(from, &l->mask_value[m]) : mask_value_of(from, &l->mask_value[m])) return;
    if (l->by_colour) config_fault(f, l->line, where, "\"%s\" is no colour \"#rrggbb\", as the first line has", from);
    else config_fault(f, l->line, where, "\"%s\" is no mask value", from);
}

static void check_label(recipe *r, int i, config_faults *f)
{
    recipe_label *l = &r->label[i];
    char where[64];
    static const char *const sources[N_TASK_KINDS] = {"value|columns|npz|npy|regions", "value|columns|npz", "value|npz", "mask|yolo|coco|npy|regions", "voc|yolo|coco"};
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
    bool npy = !strcmp(l->source, "npy"), files = l->task == TASK_SEGMENTATION && (npy || !strcmp(l->source, "mask")); /* of values or colours; else objects have class names */
    if (npy && !r->images.arrays) config_fault(f, l->line, KEY("source"), "\"npy\" is for images that are arrays (images.arrays)");
    if (l->n_planes && (!npy || l->task != TASK_SEGMENTATION)) config_fault(f, l->line, KEY("planes"), "is for masks of source \"npy\"");
    if (l->n_planes > 1 && (l->n_planes != l->n_classes - 1 || l->n_map))
        config_fault(f, l->line, KEY("planes"), "%d planes for %d classes behind the background%s", l->n_planes, l->n_classes - 1, l->n_map ? ", and a map" : "");
    l->by_colour = files && !npy && l->n_map > 0 && l->map[0][0] == '#';
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
    if (l->threshold > 0 && (!files || npy || l->n_classes != 2 || l->n_map))
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

static void add_to_id(recipe *r, config_faults *f, const char *own, const char *add)
{
    if (strstr(r->images.id, own)) return;
    if (strlen(r->images.id) + strlen(add) >= sizeof r->images.id) config_fault(f, r->images.line, "images.id", "is too long");
    else strcat(r->images.id, add);
}

/* Times of one file have ids of their own, but one subject and one split. */
static void name_times(recipe *r, config_faults *f)
{
    const int line = r->images.line, n = r->images.n_times;
    if (!n) return;
    if (r->form != FORM_FILES) config_fault(f, line, "images.times", "is for 4-D NIfTI files");
    if (r->images.frames.n) config_fault(f, line, "images.frames", "beside images.times: the volumes of a file are its channels or its times");
    for (int a = 0; a < n; a++)
        for (int b = 0; b < a; b++)
            if (r->images.times[a] == r->images.times[b]) config_fault(f, line, "images.times", "%d appears twice", r->images.times[a]);
    for (int i = 0; i < r->images.n_files; i++) {
        search s = {.name = "time"};
        if (!pattern_names(r->images.files[i], is_same, &s) && s.hit) config_fault(f, line, "images.files", "{time} is that of images.times: give it another name");
    }
    if (strstr(r->images.subject, "{time}")) config_fault(f, line, "images.subject", "{time}: all times of a file are of one subject");
    if (strstr(r->split.value, "{time}")) config_fault(f, r->split.line, "split.value", "{time}: all times of a file share a split");
    add_to_id(r, f, "{time}", "-t{time}");
}

/* Images of one file need ids of their own, and have no subjects but themselves. */
static void name_parts(recipe *r, config_faults *f)
{
    r->form = FORM_FILES;
    for (int i = 0; i < r->n_labels; i++)
        if (!strcmp(r->label[i].source, "npz")) r->form = FORM_NPZ;
    if (r->images.arrays) {
        if (r->form == FORM_NPZ) config_fault(f, r->images.line, "images.arrays", "an array has no label of source \"npz\"");
        r->form = FORM_NPY;
    }
    if (r->slide.mpp > 0) {
        if (r->form == FORM_NPY) config_fault(f, r->slide.line, "slide.mpp", "a slide is no array");
        if (r->form == FORM_NPZ) config_fault(f, r->slide.line, "slide.mpp", "a slide has no label of source \"npz\"");
        r->form = FORM_SLIDE;
    }
    for (int i = 0; i < r->n_labels; i++)
        if (!strcmp(r->label[i].source, "regions") && r->form != FORM_SLIDE) config_fault(f, r->label[i].line, "slide.mpp", "regions lie on slides: say how fine");
    name_times(r, f);
    if (r->form == FORM_FILES) return;
    static const char *const own[] = {[FORM_NPZ] = "{index}", [FORM_NPY] = "{index}", [FORM_SLIDE] = "{x}"},
                      *const add[] = {[FORM_NPZ] = "/{split}-{index}", [FORM_NPY] = "/{index}", [FORM_SLIDE] = "/{x},{y}"};
    add_to_id(r, f, own[r->form], add[r->form]);
    if (r->form == FORM_SLIDE) {
        if (!strcmp(r->images.units, "mm")) config_fault(f, r->images.line, "images.units", "slides are measured in um");
        else snprintf(r->images.units, sizeof r->images.units, "um");
        return;
    }
    if (!strcmp(r->images.subject, "{stem}")) snprintf(r->images.subject, sizeof r->images.subject, "%s", r->images.id);
    if (r->form == FORM_NPZ && !*r->split.value) snprintf(r->split.value, sizeof r->split.value, "{split}");
}

void recipe_check(void *out, config_faults *f)
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
