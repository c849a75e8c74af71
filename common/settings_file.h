/* settings_file.h - for common/settings*.c only: the configuration file, and how all of them complain. */
#pragma once
#include "settings_row.h"

/* Offers every value of the file to take(), with its line; complains of what it cannot be. Texts are in the arena. */
void settings_file_read(const char *path, struct arena *, void (*take)(void *, const struct row *, struct given), void *arg);

/* settings.c */
void settings_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct nearest { const char *wrong, *best; unsigned d; };
void nearest_start(struct nearest *, const char *wrong);
void nearest_try(struct nearest *, const char *name); /* best: the nearest name so far, NULL when none is near */
