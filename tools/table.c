/* table: builds tables cell by cell and tells CSV from XLSX. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static char empty_cell[1]; /* all empty cells are this one */

static void free_cell(char *cell)
{
    if (cell != empty_cell) free(cell);
}

status table_read(table *t, const char *path, const char *sheet)
{
    *t = (table){0};
    char *text;
    size_t n;
    TRY(file_read_all(path, (size_t)256 << 20, &text, &n), "reading a table");
    bool zip = n >= 4 && !memcmp(text, "PK\3\4", 4);
    status st = zip ? OK : csv_parse(t, text, n, path);
    free(text);
    return zip ? xlsx_parse(t, path, sheet) : st;
}

void table_free(table *t)
{
    for (int i = 0; t->name && i < t->n_columns; i++) free_cell(t->name[i]);
    for (size_t i = 0; t->cell && i < (size_t)t->n_rows * (size_t)t->n_columns; i++) free_cell(t->cell[i]);
    free(t->name);
    free(t->cell);
    *t = (table){0};
}

int table_column(const table *t, const char *name)
{
    for (int i = 0; i < t->n_columns; i++)
        if (!strcmp(t->name[i], name)) return i;
    return -1;
}

status table_add(table_builder *b, const char *text, size_t n)
{
    CHECK(b->n < TABLE_CELLS_MAX && (b->n_text += n) <= TABLE_TEXT_MAX, ST_DATA, "more than %d cells or %d MiB of text in a table",
          TABLE_CELLS_MAX, TABLE_TEXT_MAX >> 20);
    if (b->n == b->room) {
        size_t room = b->room ? 2 * b->room : 256;
        TRY(mem_grow(&b->cell, room * sizeof *b->cell, "table"), "table");
        b->room = room;
    }
    char *copy = empty_cell;
    if (n) TRY(mem_copy(&copy, text, n, "table cell"), "table");
    b->cell[b->n++] = copy;
    return OK;
}

status table_end_row(table_builder *b, const char *what, int line)
{
    size_t n = b->n - b->row_start;
    CHECK(b->n_columns || n <= TABLE_COLUMNS_MAX, ST_DATA, "%s:%d: %zu columns, at most %d are read", what, line, n, TABLE_COLUMNS_MAX);
    if (b->n_columns == 0) b->n_columns = (int)n;
    /* Empty cells past the last column are common (trailing separators); text there is a shifted row. */
    while (n > (size_t)b->n_columns && !*b->cell[b->n - 1]) free_cell(b->cell[--b->n]), n--;
    CHECK(n <= (size_t)b->n_columns, ST_DATA, "%s:%d: %zu cells in a table of %d columns", what, line, n, b->n_columns);
    for (; n < (size_t)b->n_columns; n++) TRY(table_add(b, "", 0), "%s:%d", what, line);
    b->row_start = b->n;
    b->n_rows++;
    return OK;
}

status table_finish(table_builder *b, table *t, const char *what)
{
    *t = (table){0};
    if (b->n_rows < 1 || b->n_columns < 1) {
        table_abandon(b);
        return status_raise(ST_DATA, __FILE__, __LINE__, "%s: no row of column names", what);
    }
    size_t columns = (size_t)b->n_columns;
    status st = mem_alloc(&t->name, columns * sizeof *t->name, "column names");
    if (st) {
        table_abandon(b);
        return status_note(st, __FILE__, __LINE__, "%s", what);
    }
    memcpy(t->name, b->cell, columns * sizeof *t->name);
    memmove(b->cell, b->cell + columns, (b->n - columns) * sizeof *b->cell);
    t->cell = b->cell, t->n_columns = b->n_columns, t->n_rows = b->n_rows - 1;
    *b = (table_builder){0};
    return OK;
}

void table_abandon(table_builder *b)
{
    for (size_t i = 0; i < b->n; i++) free_cell(b->cell[i]);
    free(b->cell);
    *b = (table_builder){0};
}
