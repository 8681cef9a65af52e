/* fuzz_regions: regions on slides, GeoJSON. */
#include "fuzz.h"

#include "slide.h"

#include <math.h>
#include <string.h>

const char *const fuzz_name = "regions";
const char *const fuzz_words[] = {"\"features\":[", "\"type\":\"Feature\"", "\"geometry\":{", "\"type\":\"Polygon\"", "\"type\":\"MultiPolygon\"", "\"coordinates\":[[[", "]]]",
                                  "\"properties\":{\"classification\":{\"name\":\"", "1e308", "-1", "[0,0],[9,0],[9,9]", "null", "[", "]", "{", "}", ",", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = 32 << 20;
const int fuzz_mutations = 20000;

void fuzz_one(const uint8_t *data, size_t n)
{
    static uint8_t px[64 * 64];
    boxes b;
    int n_left;
    if (geojson_parse(&b, &n_left, (const char *)data, n, "fuzz")) return;
    for (int i = 0; i < b.n; i++) {
        for (int k = 0; k < 4; k++) fuzz_require(isfinite(b.edge[i][k]), "edges are finite");
        fuzz_require(b.shape[i].n_rings > 0 && strlen(b.name[i]) < sizeof b.name[i], "a region has rings and a name that ends");
        if (outline_paint(&b.shape[i], px, 64, 64, 1, true)) fuzz_require(status_message()[0] != 0, "a refusal says why");
    }
    boxes_free(&b);
}
