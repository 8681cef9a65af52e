/* table: a rectangle of texts, as read from a CSV or XLSX file; row 0 of the file names the columns. */
#ifndef MEDLEY_TOOLS_TABLE_H
#define MEDLEY_TOOLS_TABLE_H

#include "medley/core.h"

typedef struct table {
    int    n_columns, n_rows;  /* without the row of names */
    char **name;               /* (n_columns) */
    char **cell;               /* (n_rows,n_columns), never NULL */
} table;

/* By content: a ZIP archive is XLSX, else CSV. sheet: name or "" for the first (XLSX only). */
MUST status table_read(table *t, const char *path, const char *sheet);
/* CSV as in RFC 4180: quotes, doubled quotes, line breaks within quotes; separator , ; or tab, told by the first row; CRLF; UTF-8 mark. */
MUST status csv_parse(table *t, const char *text, size_t n, const char *what);
MUST status xlsx_parse(table *t, const char *path, const char *sheet);
void table_free(table *t);
int  table_column(const table *t, const char *name); /* -1 */
static inline const char *table_cell(const table *t, int row, int column) { return t->cell[(size_t)row * (size_t)t->n_columns + (size_t)column]; }

/* A header of many columns over many short rows asks for far more cells than the file has bytes: these are the most that are kept. */
enum { TABLE_COLUMNS_MAX = 16384, TABLE_CELLS_MAX = 1 << 25, TABLE_TEXT_MAX = 1 << 30 /* bytes */ };

/* For the readers: cells in reading order; the first row becomes the names, short rows are filled up, long ones are an error. */
typedef struct table_builder {
    char **cell;
    size_t n, room, row_start, n_text; /* n_text: bytes of all cells */
    int    n_columns; /* 0 until the first row ended */
    int    n_rows;    /* with the row of names */
} table_builder;
MUST status table_add(table_builder *b, const char *text, size_t n);
MUST status table_end_row(table_builder *b, const char *what, int line);
MUST status table_finish(table_builder *b, table *t, const char *what); /* takes the cells; on error frees them */
void table_abandon(table_builder *b);

#endif
