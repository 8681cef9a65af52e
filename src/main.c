/* main: the `medley` command: a table of subcommands, no logic. */
#include "medley/command.h"
#include "medley/use.h"

static const command_entry commands[] = {
    {"train", cmd_train, "train a job, or go on with it"},
    {"check", cmd_check, "validate a job file and its data; forecast memory and placement"},
    {"evaluate", cmd_evaluate, "metrics per task with confidence intervals"},
    {"report", cmd_report, "one HTML page about a run"},
    {"status", cmd_status, "where a run is"},
    {"verify-run", cmd_verify_run, "are two runs the same, bit for bit?"},
    {"doctor", cmd_doctor, "what a run would find here: CPUs, binding, MPI, Slurm, folder; known traps"},
    {"predict", cmd_predict, "what a task of a run sees in new images: masks, boxes, classes"},
    {"embed", cmd_embed, "vectors of images and volumes: HDF5, NPY or CSV"},
    {"probe", cmd_probe, "what the encoder is worth with 1 to 100 % of a task's training data"},
    {"export", cmd_export, "weights as safetensors for torchvision, timm, Hugging Face"},
    {"import", cmd_import, "does a safetensors file fit an encoder? Weights of other programs"},
    {"explain", cmd_explain, "every key of a job file"},
    {0},
};

static const command_program medley = {
    .name = "medley",
    .purpose = "multi-task pretraining of biomedical imaging encoders",
    .about = "Trains one image encoder on many biomedical imaging tasks at once.",
    .exits = "Exit status: 0 done, 1 two runs differ (verify-run), 2 usage or configuration, 3 data, 4 resources, 5 numerical, 6 "
             "communication, 70 internal, 75 checkpointed on request, run again.",
    .see_also = ".BR medley.cfg (5),\n.BR medley\\-data (1)",
    .version = use_version,
    .commands = commands,
};

int main(int argc, char **argv)
{
    use_best_kernels(argv);
    return command_main(&medley, argc, argv);
}
