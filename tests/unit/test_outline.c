/* test_outline: polygons and runs as masks, against what pycocotools made of them (tests/parity/make_outlines.py); hostile counts.
 * Usage: test_outline OUTLINES.json */
#include "test.h"

#include "boxes.h"

#include <jansson.h>
#include <zlib.h>

enum { H = 37, W = 53 };
static const char *reference;

static void like_pycocotools(void)
{
    char *text;
    size_t n;
    coco c;
    EXPECT_OK(file_read_all(reference, 1 << 24, &text, &n));
    EXPECT_OK(coco_parse(&c, text, n, &(coco_rules){.outlines = true}, "outlines"));
    json_t *root = json_loadb(text, n, 0, NULL), *list = json_object_get(root, "annotations");
    const boxes *b = &c.image[0].boxes;
    EXPECT(b->n == (int)json_array_size(list) && b->n == 150, "%d objects", b->n);
    for (int i = 0; i < b->n; i++) {
        static uint8_t px[H * W];
        const outline *o = &b->shape[i];
        json_t *want = json_array_get(list, (size_t)i);
        int area = 0;
        double edge[4];
        memset(px, 0, sizeof px);
        EXPECT(i % 3 ? o->n_runs > 0 : o->n_rings > 0, "object %d", i);
        EXPECT_OK(outline_paint(o, px, H, W, 1, false));
        for (int p = 0; p < H * W; p++) area += px[p];
        EXPECT(area == json_integer_value(json_object_get(want, "area")), "object %d: %d pixels", i, area);
        EXPECT(crc32(0, px, H * W) == (uint32_t)json_integer_value(json_object_get(want, "crc32")), "object %d: other pixels", i);
        outline_extent(o, edge);
        for (int k = 0; i % 3 && k < 4; k++) EXPECT(edge[k] == (double)b->edge[i][k], "object %d: edge %d is %g, wanted %g", i, k, edge[k], (double)b->edge[i][k]);
    }
    json_decref(root);
    coco_free(&c);
    free(text);
}

#define COCO(annotations) "{\"images\":[{\"id\":1,\"file_name\":\"a\"}],\"categories\":[{\"id\":1,\"name\":\"x\"}],\"annotations\":[" annotations "]}"
#define ONE(rest) "{\"image_id\":1,\"category_id\":1," rest "}"

static void boxes_from_outlines(void)
{
    coco c;
    const char *text = COCO(ONE("\"segmentation\":[[1,2,9,2,9,4.5]]") "," ONE("\"bbox\":[],\"segmentation\":{\"size\":[4,3],\"counts\":[5,2,5]}") ","
                            ONE("\"iscrowd\":1,\"segmentation\":{\"size\":[4,3],\"counts\":[0,12]}"));
    EXPECT_OK(coco_parse(&c, text, strlen(text), &(coco_rules){0}, "c.json"));
    const boxes *b = &c.image[0].boxes;
    EXPECT(b->n == 2 && c.n_crowd == 1, "%d boxes", b->n);
    if (b->n == 2) {
        static const float want[2][4] = {{1, 2, 9, 4.5f}, {1, 1, 2, 3}};
        for (int i = 0; i < 8; i++) EXPECT(b->edge[i / 4][i % 4] == want[i / 4][i % 4], "box %d: %g", i / 4, (double)b->edge[i / 4][i % 4]);
        EXPECT(outline_empty(&b->shape[0]), "outlines were not asked for");
    }
    coco_free(&c);
    EXPECT_OK(coco_parse(&c, text, strlen(text), &(coco_rules){.outlines = true}, "c.json"));
    EXPECT(c.image[0].boxes.n == 3 && c.image[0].boxes.shape[2].crowd && !c.image[0].boxes.shape[1].crowd, "a crowd keeps its outline");
    coco_free(&c);
    EXPECT_OK(coco_parse(&c, text, strlen(text), &(coco_rules){.crowd_is_object = true}, "c.json"));
    EXPECT(c.image[0].boxes.n == 3 && c.n_crowd == 0, "or is an object");
    coco_free(&c);
}

static void damaged(void)
{
    static const char *const bad[] = {
        COCO(ONE("\"segmentation\":[[1,2,3,4]]")), COCO(ONE("\"segmentation\":[[1,2,3,4,5]]")), COCO(ONE("\"segmentation\":[[1,2,3,4,5,\"6\"]]")),
        COCO(ONE("\"segmentation\":[[1,2,3,4,5,1e300]]")), COCO(ONE("\"segmentation\":7")), COCO(ONE("\"segmentation\":{\"counts\":[1]}")),
        COCO(ONE("\"segmentation\":{\"size\":[2,2],\"counts\":[1,2]}")), COCO(ONE("\"segmentation\":{\"size\":[2,2],\"counts\":[5,-1]}")),
        COCO(ONE("\"segmentation\":{\"size\":[65536,65536],\"counts\":[4294967295,1]}")), COCO(ONE("\"segmentation\":{\"size\":[2,2],\"counts\":\"4oooooooo\"}")),
        COCO(ONE("\"segmentation\":{\"size\":[2,2],\"counts\":\"o\"}")), COCO(ONE("\"segmentation\":{\"size\":[2,2],\"counts\":\"!\"}"))};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        coco c;
        EXPECT_STATUS(coco_parse(&c, bad[i], strlen(bad[i]), &(coco_rules){.outlines = true}, "c.json"), ST_DATA);
        EXPECT(strstr(status_message(), "c.json: annotations[0]"), "%zu: %s", i, status_message());
    }
    outline o = {0};
    uint8_t px[6] = {0};
    EXPECT_OK(outline_unpack(&o, "132", 2, 3)); /* 1 off, 3 on, 2 off */
    EXPECT_STATUS(outline_paint(&o, px, 3, 2, 1, false), ST_DATA);
    EXPECT_OK(outline_paint(&o, px, 2, 3, 1, false));
    EXPECT(!memcmp(px, "\0\1\0\1\1\0", 6), "runs go down the columns");
    outline_free(&o);
}

/* A hole is a ring within a ring where the format says so. */
static void holes(void)
{
    outline o = {0};
    uint8_t px[36];
    const double out[4][2] = {{0, 0}, {6, 0}, {6, 6}, {0, 6}}, in[4][2] = {{2, 2}, {4, 2}, {4, 4}, {2, 4}};
    EXPECT_OK(outline_add_ring(&o, out, 4));
    EXPECT_OK(outline_add_ring(&o, in, 4));
    for (int hole = 0; hole < 2; hole++) {
        memset(px, 0, sizeof px);
        EXPECT_OK(outline_paint(&o, px, 6, 6, 1, hole));
        int sum = 0;
        for (int i = 0; i < 36; i++) sum += px[i];
        EXPECT(sum == (hole ? 32 : 36) && px[2 * 6 + 2] == !hole, "%d pixels", sum);
    }
    EXPECT_STATUS(outline_add_ring(&o, out, 2), ST_DATA);
    outline_free(&o);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    reference = argv[1];
    RUN(like_pycocotools);
    RUN(boxes_from_outlines);
    RUN(damaged);
    RUN(holes);
    DONE();
}
