/* fuzz_boxes: box annotations, Pascal VOC, YOLO and COCO. */
#include "fuzz.h"

#include "boxes.h"

#include <math.h>
#include <string.h>

const char *const fuzz_name = "boxes";
const char *const fuzz_words[] = {"<annotation>", "<object>", "</object>", "<name>", "<bndbox>", "<xmin>", "</xmin>", "<a/>", "<!DOCTYPE a [<!ENTITY b \"cccccccc\">]>", "&b;",
                                  "\"images\":", "\"annotations\":", "\"categories\":", "\"bbox\":", "\"segmentation\":", "\"counts\":", "\"size\":[", "\"iscrowd\":1", "\"id\":", "1e308", "-1", "0 0.5 0.5 0.1 0.1\n", " 0.25", "[", "]", "{", "}", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 64 << 20;
const int fuzz_mutations = 20000;

static void check(const boxes *b)
{
    static uint8_t px[48 * 64];
    double edge[4];
    for (int i = 0; i < b->n; i++) {
        for (int k = 0; k < 4; k++) fuzz_require(isfinite(b->edge[i][k]), "corners are finite");
        if (outline_paint(&b->shape[i], px, 48, 64, 1, i % 2)) fuzz_require(status_message()[0] != 0, "a refusal says why");
        outline_extent(&b->shape[i], edge);
        fuzz_require(edge[0] <= edge[2] && edge[1] <= edge[3], "an extent has corners in order");
        fuzz_require(strlen(b->name[i]) < sizeof b->name[i], "names end");
    }
}

void fuzz_one(const uint8_t *data, size_t n)
{
    boxes b;
    coco c;
    if (!voc_parse(&b, (const char *)data, n, true, "fuzz")) {
        check(&b);
        boxes_free(&b);
    }
    if (!yolo_parse(&b, (const char *)data, n, 640, 480, "fuzz")) {
        check(&b);
        boxes_free(&b);
    }
    for (int outlines = 0; outlines < 2; outlines++) {
        if (coco_parse(&c, (const char *)data, n, &(coco_rules){.outlines = outlines}, "fuzz")) continue;
        for (int i = 0; i < c.n; i++) {
            check(&c.image[i].boxes);
            fuzz_require(coco_find(&c, c.image[i].file_name) == &c.image[i], "an image is found by its name");
        }
        coco_free(&c);
    }
}
