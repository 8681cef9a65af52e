/* fuzz: what a fuzz target offers and what both of its drivers give it. A target is one C file; with main_plain.c it is a test that runs
 * the corpus and a fixed number of mutations of it, with main_libfuzzer.c (clang) it is a fuzzer that looks for new ways in. */
#ifndef MEDLEY_FUZZ_H
#define MEDLEY_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "medley/core.h"

/* ---- the target */
extern const char *const fuzz_name;             /* also the folder of its corpus */
extern const char *const fuzz_words[];          /* words of the format, for mutations; ends with NULL */
extern const size_t fuzz_bytes_max;             /* longer inputs are cut */
extern const size_t fuzz_memory_max;            /* bytes: the process may not grow by more, whatever the input says */
extern const int fuzz_mutations;                /* of the plain test */
/* Reads one hostile input. It must come back, with everything freed; ending in any status is right. */
void fuzz_one(const uint8_t *data, size_t n);

/* ---- for the target */
/* A file with these bytes, the same one for each call. The path stays valid. */
const char *fuzz_file(const uint8_t *data, size_t n);
/* The same as `name` in a folder of its own, the same one for each call, which keeps files of other names; data NULL: the file goes. Returns
 * the folder. */
const char *fuzz_folder(const char *name, const uint8_t *data, size_t n);
extern int fuzz_taken;                          /* inputs that were opened, which the targets count whose corpus must open */
extern const bool fuzz_must_open;               /* weak: false */
/* A promise of the code under test: ends the process if it is broken. */
void fuzz_require(bool kept, const char *promise);
/* A pseudo-random change of data[0..n) in place; room bytes are there. Returns the new length. */
size_t fuzz_mutate(uint8_t *data, size_t n, size_t room, rng *r);

#endif
