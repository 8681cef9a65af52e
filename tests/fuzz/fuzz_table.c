/* fuzz_table: tables beside the images, CSV and XLSX. */
#include "fuzz.h"

#include "table.h"

#include <string.h>

const char *const fuzz_name = "table";
const char *const fuzz_words[] = {",", ";", "\t", "\"", "\"\"", "\r\n", "\n", "PK\3\4", "PK\1\2", "PK\5\6", "xl/workbook.xml", "xl/sharedStrings.xml", "<row>", "<c r=\"XFD1\"",
                                  " t=\"s\"", "<v>", "</v>", "<si><t>", "<sheet name=\"", NULL};
const size_t fuzz_bytes_max = 1 << 14, fuzz_memory_max = (size_t)768 << 20;
const int fuzz_mutations = 10000;

void fuzz_one(const uint8_t *data, size_t n)
{
    table t;
    if (table_read(&t, fuzz_file(data, n), "")) return;
    fuzz_require(t.n_columns > 0 && t.n_columns <= TABLE_COLUMNS_MAX && t.n_rows >= 0, "a table is a rectangle");
    fuzz_require((size_t)t.n_rows * (size_t)t.n_columns <= TABLE_CELLS_MAX, "a table is not larger than the limit");
    size_t bytes = 0;
    for (int i = 0; i < t.n_columns; i++) bytes += strlen(t.name[i]);
    for (int r = 0; r < t.n_rows; r++)
        for (int c = 0; c < t.n_columns; c++) bytes += strlen(table_cell(&t, r, c));
    fuzz_require(bytes <= TABLE_TEXT_MAX, "a table has not more text than the limit");
    table_free(&t);
}
