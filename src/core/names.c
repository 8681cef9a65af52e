/* names: the words for task kinds and splits, in files and on screen. */
#include "medley/batch.h"

#include <string.h>

const char *const task_kind_name[N_TASK_KINDS] = {"classification", "multilabel", "regression", "segmentation", "detection"};
const char *const split_name[N_SPLITS] = {"train", "val", "test"};

int task_kind_find(const char *name)
{
    for (int i = 0; i < N_TASK_KINDS; i++)
        if (strcmp(name, task_kind_name[i]) == 0) return i;
    return -1;
}
