/* doctor_cmd: `medley doctor`: what a run would find here, and the known traps of clusters by name. Start it as the run would be started. */
#include "medley/command.h"
#include "medley/kern.h"
#include "medley/use.h"

#include "doctor.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { GEMM_N = 768, PING_BYTES = 1 << 22, PINGS = 200, BIG_PINGS = 8, NODES_SHOWN = 16, TAG = 4711 };

/* What one rank knows of itself and its node. */
typedef struct facts {
    char       host[64], isa[96];
    core_share cores;
    int        mask_cpus, online_cpus, slurm_cpus;
    bool       sees_folder, wider; /* wider: the CPU has vectors that this program was not built for */
    double     memory_bytes;       /* available on the node */
} facts;

void doctor_trap(doctor *d, const char *fmt, ...)
{
    va_list args;
    fprintf(d->out, "TRAP      ");
    va_start(args, fmt);
    vfprintf(d->out, fmt, args);
    va_end(args);
    fputc('\n', d->out);
    d->n_traps++;
}

static int env_number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static double available_memory(void)
{
    double kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return 1024 * kib;
}

static status gather_facts(comm *world, const char *folder, facts *mine)
{
    cpu_set_t mask;
    char seen[700], here[80] = "";
    *mine = (facts){.online_cpus = (int)sysconf(_SC_NPROCESSORS_ONLN), .slurm_cpus = env_number("SLURM_CPUS_PER_TASK"),
                    .memory_bytes = available_memory()};
    if (sched_getaffinity(0, sizeof mask, &mask) == 0) mine->mask_cpus = CPU_COUNT(&mask);
    gethostname(mine->host, sizeof mine->host - 1);
    snprintf(mine->isa, sizeof mine->isa, "%s", kern_isa());
#if defined(__x86_64__)
    mine->wider = (strstr(mine->isa, "kernels avx2") && __builtin_cpu_supports("avx512f")) || (strstr(mine->isa, "kernels sse2") && __builtin_cpu_supports("avx2"));
#endif
    /* a file that rank 0 makes has to be seen by all */
    if (comm_rank(world) == 0) snprintf(here, sizeof here, ".medley-doctor-seen-%d", (int)getpid());
    TRY(comm_bcast(world, here, sizeof here, 0), "doctor");
    snprintf(seen, sizeof seen, "%.500s/%s", folder, here);
    if (comm_rank(world) == 0 && file_write_atomic(seen, "", 0)) status_clear(); /* doctor_folder says why */
    TRY(comm_barrier(world), "doctor");
    mine->sees_folder = path_exists(seen);
    TRY(comm_barrier(world), "doctor");
    if (comm_rank(world) == 0) unlink(seen);
    return comm_cores(world, cores_asked(0), &mine->cores);
}

/* ---- measurements --------------------------------------------------------------------------------------------------------------------- */

/* Of a linear layer in fp32. */
static status gemm_rate(double *flops)
{
    float *m[3] = {NULL};
    double best = INFINITY;
    status st = OK;
    for (int i = 0; i < 3 && !st; i++) st = mem_alloc(&m[i], sizeof(float) * GEMM_N * GEMM_N, "matrix");
    for (int i = 0; i < 4 && !st; i++) {
        double began = timer_now();
        linear_forward(m[2], m[0], m[1], NULL, GEMM_N, GEMM_N, GEMM_N);
        best = fmin(best, timer_now() - began);
    }
    *flops = 2.0 * GEMM_N * GEMM_N * GEMM_N / best;
    for (int i = 0; i < 3; i++) free(m[i]);
    return st;
}

/* Rank 0 and `other` send n bytes to and fro; seconds of one way. The rest wait. */
static status ping(comm *world, int other, char *buffer, size_t n, int times, double *one_way)
{
    int me = comm_rank(world);
    TRY(comm_barrier(world), "network");
    double best = INFINITY;
    for (int i = 0; i < times && (me == 0 || me == other); i++) {
        double began = timer_now();
        if (me == 0) TRY(comm_send(world, other, TAG, buffer, n), "network");
        TRY(comm_recv(world, me == 0 ? other : 0, TAG, buffer, n), "network");
        if (me == other) TRY(comm_send(world, 0, TAG, buffer, n), "network");
        best = fmin(best, (timer_now() - began) / 2);
    }
    *one_way = best;
    return OK;
}

static status network(comm *world, int other, bool same_node, FILE *out)
{
    char *buffer;
    double small = 0, big = 0;
    TRY(comm_agree(world, mem_alloc(&buffer, PING_BYTES, "network test")), "network");
    status st = ping(world, other, buffer, 1, PINGS, &small);
    if (!st) st = ping(world, other, buffer, PING_BYTES, BIG_PINGS, &big);
    free(buffer);
    TRY(st, "network");
    if (comm_rank(world) == 0)
        fprintf(out, "messages  to rank %d on %s: %.1f us, %.2f GB/s\n", other, same_node ? "the same node" : "another node", 1e6 * small,
                1e-9 * PING_BYTES / big);
    return OK;
}

/* Do ranks of a node see each other's memory, so that sums need not go through MPI there? */
static status shared_memory(comm *world, bool *sees)
{
    comm_levels levels;
    shared_arena test;
    TRY(comm_levels_open(world, &levels), "shared memory");
    status st = comm_shared_open(world, levels.node, 4096, &test);
    *sees = !st && test.n > 0;
    comm_shared_close(&test);
    comm_levels_close(&levels);
    return st;
}

/* ---- what rank 0 says ------------------------------------------------------------------------------------------------------------------- */

static void say_nodes(doctor *d, const facts *all, int n)
{
    int nodes = 0;
    for (int r = 0; r < n; r++) {
        const facts *f = &all[r];
        if (!f->cores.first || ++nodes > NODES_SHOWN) continue;
        fprintf(d->out, "node      %s: %d rank%s, %d thread%s, CPUs %s; %.1f GiB of memory free; %s\n", f->host, f->cores.ranks,
                f->cores.ranks == 1 ? "" : "s", f->cores.all_threads, f->cores.all_threads == 1 ? "" : "s", f->cores.list,
                f->memory_bytes / (1 << 30), f->isa);
    }
    if (nodes > NODES_SHOWN) fprintf(d->out, "          and %d more nodes\n", nodes - NODES_SHOWN);
}

static void say_binding(doctor *d, const facts *all, int n)
{
    int blind = 0, tight = 0, wider = 0;
    for (int r = 0; r < n; r++) {
        const facts *f = &all[r];
        blind += all[0].sees_folder && !f->sees_folder; /* what rank 0 cannot write itself is said above */
        wider += f->wider;
        if (f->slurm_cpus > f->mask_cpus) tight++;
        if (!f->cores.first) continue;
        if (f->cores.crowded[0]) doctor_trap(d, "%s", f->cores.crowded);
        else if (f->cores.cpus < f->online_cpus && n > 1)
            doctor_trap(d, "%s: the ranks are bound to %d of its %d CPUs (%s); the others stay idle. More ranks, or mpirun --bind-to none, or "
                        "--map-by slot:pe=THREADS", f->host, f->cores.cpus, f->online_cpus, f->cores.list);
    }
    if (tight)
        doctor_trap(d, "%d of %d ranks may use fewer CPUs than SLURM_CPUS_PER_TASK=%d: srun does not take --cpus-per-task over from sbatch. "
                    "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK before srun", tight, n, all[0].slurm_cpus);
    if (wider)
        doctor_trap(d, "%d of %d ranks run on CPUs with wider vectors than this program was built for (%s): build it there, or with "
                    "-Dmarch=x86-64-v4 or -v3", wider, n, all[0].isa);
    if (blind)
        doctor_trap(d, "%d of %d ranks do not see a file that rank 0 makes in the folder: it is not shared by the nodes, and run folder and "
                    "shards must be", blind, n);
}

static void say_slurm(doctor *d, int n)
{
    const char *job = getenv("SLURM_JOB_ID"), *end = getenv("SLURM_JOB_END_TIME");
    int tasks = env_number("SLURM_STEP_NUM_TASKS");
    if (!job) return;
    char left[32] = "";
    if (end) text_seconds(atof(end) - (double)time(NULL), left);
    fprintf(d->out, "Slurm     job %s, %s%s\n", job, end ? "ends in " : "its end is not known to the program (SLURM_JOB_END_TIME)", left);
    if (tasks > 1 && n == 1)
        doctor_trap(d, "srun started %d programs that do not know of each other: srun --mpi=pmix, or mpirun inside the job", tasks);
}

static void say_folder(doctor *d, const char *folder)
{
    folder_facts f;
    doctor_folder(folder, &f);
    if (f.write_fault[0]) {
        doctor_trap(d, "%s (%s): a file cannot be written, synced and renamed: %s", folder, f.kind[0] ? f.kind : "unknown", f.write_fault);
        return;
    }
    fprintf(d->out, "folder    %s: %s, %.1f GiB free, %.0f MB/s written and synced, locks %s\n", folder, f.kind, f.free_bytes / (1 << 30),
            1e-6 * f.sync_rate, f.locks ? "work" : "do not work: two trainings in one run folder would not notice each other");
    if (f.in_memory) doctor_trap(d, "%s lies in memory: checkpoints there are gone with the node", folder);
}

static void say_bf16(doctor *d, double gain)
{
    const char *name = kern_bf16_name(), *lacks = kern_bf16_lacks(), *refused = "train.precision = \"bf16\" would be refused";
    if (kern_bf16_choose()) {
        fprintf(d->out, "bf16      %s: %s\n", status_message(), refused);
        status_clear();
    } else if (!name) {
        fprintf(d->out, "bf16      %s: %s\n", lacks, refused);
    } else {
        fprintf(d->out, "bf16      %s: linear layers %.2f times as fast as in fp32%s%s\n", name, gain, gain >= 1 ? " (train.precision" : ": ",
                gain >= 1 ? ")" : refused);
        if (lacks) fprintf(d->out, "          %s\n", lacks);
    }
}

static void say_program(doctor *d, double flops, double gain, int n, int nodes)
{
    use_version(d->out);
    fprintf(d->out, "CPU       %s\n", kern_isa());
    fprintf(d->out, "GEMM      %.1f GFLOP/s with %d thread%s on rank 0\n", 1e-9 * flops, kern_threads(), kern_threads() == 1 ? "" : "s");
    say_bf16(d, gain);
    const char *better = kern_better_core();
    if (better) doctor_trap(d, "OpenBLAS chose slow kernels for this CPU: OPENBLAS_CORETYPE=%s", better);
    fprintf(d->out, "ranks     %d on %d node%s\n", n, nodes, nodes == 1 ? "" : "s");
}

static int count_nodes(const facts *all, int n)
{
    int nodes = 0;
    for (int r = 0; r < n; r++) nodes += all[r].cores.first;
    return nodes;
}

/* Who rank 0 exchanges messages with: the first rank of another node, else rank 1. */
static int partner(const facts *all, int n)
{
    for (int r = 1; r < n; r++)
        if (strcmp(all[r].host, all[0].host) != 0) return r;
    return 1;
}

static status examine(comm *world, const char *folder)
{
    int n = comm_size(world), other = 0;
    facts mine, *all = NULL;
    size_t *sizes = NULL;
    double flops = 0, gain = 0;
    bool sees = false;
    doctor d = {.out = stdout};
    TRY(gather_facts(world, folder, &mine), "doctor");
    kern_init(mine.cores.threads);
    status st = gemm_rate(&flops);
    if (!st && kern_bf16_name()) st = kern_bf16_gain(&gain);
    TRY(comm_agree(world, st), "doctor");
    TRY(comm_agree(world, mem_alloc(&sizes, sizeof *sizes * (size_t)n, "facts")), "doctor");
    st = comm_gather(world, &mine, sizeof mine, 0, (void **)&all, sizes);
    if (!st && all) {
        other = partner(all, n);
        say_program(&d, flops, gain, n, count_nodes(all, n));
        say_nodes(&d, all, n);
    }
    if (!st) st = comm_bcast(world, &other, sizeof other, 0);
    if (!st && n > 1) st = network(world, other, all && strcmp(all[other].host, all[0].host) == 0, stdout);
    if (!st && n > 1) st = shared_memory(world, &sees);
    if (!st && all) {
        if (n > 1) printf("memory    ranks of a node %s\n", sees ? "add up gradients in each other's memory" : "exchange gradients through MPI");
        say_slurm(&d, n);
        say_folder(&d, folder);
        say_binding(&d, all, n);
        if (d.n_traps) printf("%d trap%s\n", d.n_traps, d.n_traps == 1 ? "" : "s");
        else printf("no trap found\n");
    }
    free(all);
    free(sizes);
    return st;
}

status cmd_doctor(int argc, char **argv)
{
    const char *args[1] = {"."};
    int n_args = 0;
    const command_option options[] = {{0}};
    const command_line c = {"medley doctor [FOLDER]",
                            "Says what a run would find here: program, CPUs and their binding, BLAS, MPI, network, Slurm, and the folder "
                            "(default: this one), in which a file of 64 MiB is written and removed. Known traps are named with their cure. "
                            "Start it as the run would be started: mpirun -n N medley doctor, srun medley doctor.",
                            options, 0, 1};
    if (command_help(&c, argc, argv)) return OK;
    comm *world;
    TRY(use_open(argc, argv, &world), "doctor");
    status st = comm_agree(world, command_parse(&c, argc, argv, args, &n_args));
    if (!st) st = examine(world, n_args ? args[0] : ".");
    return use_close(world, st);
}
