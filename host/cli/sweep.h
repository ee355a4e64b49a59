/* A sweep: one task over a grid of rows x columns x seeds by several methods. What the files
 * sweep_*.c and command_sweep.c share.
 *
 * A cell is one run of the program itself in a process of its own. What came out of it is recorded
 * before anything else happens, so that a sweep that was ended in any way goes on where it was. */
#ifndef RELIHT_CLI_SWEEP_H
#define RELIHT_CLI_SWEEP_H

#include "cli/cli.h"

#define SWEEP_VALUES_MAXIMUM 1000u  /* of an axis, or seeds */
#define SWEEP_METHODS_MAXIMUM 8u    /* of one sweep */
#define SWEEP_CELLS_MAXIMUM 200000u /* of the whole grid */

/* ---- sweep_grid.c: lists, methods, cells. */
typedef struct value_list {
    uint64_t values[SWEEP_VALUES_MAXIMUM];
    size_t count;
} value_list;

/* Words of a command line; the texts belong to the caller of the program. */
typedef struct word_list {
    const char *words[OPTIONS_MAXIMUM];
    size_t count;
} word_list;

/* A method is a name and what it adds to the command line of the task. */
struct sweep_method {
    const char *name;
    const char *command; /* NULL: the task's own; else a command that takes the task as a word */
    const char *words[4];
    int tasks;  /* bits of the tasks it can do */
    int shared; /* bits of the tasks in which one run serves a list of --nnz */
};

/* The numbers kept of a result, the columns of results.csv. */
#define SWEEP_NUMBERS(X) \
    X(psnr_db)           \
    X(train_accuracy)    \
    X(test_accuracy)     \
    X(test_accuracy_cut) \
    X(support_recall)    \
    X(weight_rel_error)  \
    X(nnz_used)          \
    X(outputs)           \
    X(epochs)            \
    X(loss_final)        \
    X(seconds)           \
    X(cpu_seconds)       \
    X(peak_rss_bytes)
enum sweep_number {
#define SWEEP_ENUM(name) NUMBER_##name,
    SWEEP_NUMBERS(SWEEP_ENUM)
#undef SWEEP_ENUM
        NUMBER_metric, /* the one that --metric names */
    NUMBERS
};

enum cell_state {
    CELL_OPEN,
    CELL_DONE,
    CELL_REFUSED, /* the task says that there is no such problem: more weights than places, say */
    CELL_FAILED,  /* tried again by the next run */
};

struct cell {
    enum cell_state state;
    double numbers[NUMBERS]; /* NaN where the result has none */
    double wall;             /* seconds from start to end of its process */
    char *message;           /* why it was refused or failed, or NULL */
    bool started;            /* by this run of the sweep */
    bool alone;              /* not together with others: that has been refused */
};

#define SWEEP_SHARED_MAXIMUM 64u /* cells that one run can serve */

/* Cells of one run: of the same method, row and seed. Usually one. */
typedef struct cell_group {
    size_t cells[SWEEP_SHARED_MAXIMUM];
    size_t count;
} cell_group;

struct sweep {
    const struct command *command, *task;
    const struct settings *settings; /* of the sweep itself */
    char axes[2][32];                /* options of the task: rows, columns */
    value_list rows, columns, seeds;
    const struct sweep_method *methods[SWEEP_METHODS_MAXIMUM];
    size_t method_count;
    word_list common;                            /* options for every method */
    word_list particular[SWEEP_METHODS_MAXIMUM]; /* options for one */
    char *owned[OPTIONS_MAXIMUM];                /* texts that were made from options */
    size_t owned_count;
    struct cell *cells; /* [method][row][column][seed] */
    size_t cell_count;
    json_t *names;      /* of the numbers in all results, as keys */
    int folder, record; /* descriptors of --out and of its cells.jsonl */
    struct progress progress;
};

/* Where a cell stands. */
typedef struct cell_place {
    size_t method, row, column, seed;
} cell_place;

/* "1,2,5-9": whole numbers without repetition. False, and *problem says what is wrong, if not. */
bool value_list_read(const char *text, value_list *list, const char **problem);
const struct sweep_method *sweep_method_find(const char *name, size_t length);
/* "aiht, prune" into text: what there is for the task. */
const char *sweep_method_names(const struct command *task, char *text, size_t bytes);
cell_place sweep_place(const struct sweep *sweep, size_t cell);
size_t sweep_cell(const struct sweep *sweep, cell_place place);
/* "aiht hidden 10 nnz 50 seed 0" into text. */
const char *sweep_cell_name(const struct sweep *sweep, size_t cell, char *text, size_t bytes);

/* Whether a cell is still to be run. */
bool sweep_is_open(const struct cell *cell);
/* Fills the group with the cells that `cell`, which is open, can be run with. */
void sweep_gather(const struct sweep *sweep, size_t cell, cell_group *group);

/* The command line of a group as texts of its own, NULL at the end; the first words are the
 * program, the command and, for a method with a command of its own, the task. */
#define SWEEP_WORDS_MAXIMUM (2 * OPTIONS_MAXIMUM + 24)
typedef struct group_line {
    const char *words[SWEEP_WORDS_MAXIMUM];
    int count;
    char row[24], seed[24], threads[24], columns[24 * SWEEP_SHARED_MAXIMUM];
    char options[2][36];
} group_line;
void sweep_group_line(const struct sweep *sweep, const cell_group *group, uint64_t threads,
                      group_line *line);

/* ---- sweep_record.c: what is kept in --out. All return an exit status after a message. */
/* Makes the folder, takes the lock, compares the settings of the sweep that is there, reads its
 * cells. */
int sweep_record_open(struct sweep *sweep);
/* Records the ended cells of a group by one write; results[i] is what came of cell i, NULL if it is
 * not done. */
int sweep_record_group(struct sweep *sweep, const cell_group *group, json_t *const results[]);
/* The numbers of a result. */
void sweep_take_numbers(const struct sweep *sweep, struct cell *cell, const json_t *result);
/* Writes a file of the folder, whole or not at all. */
int sweep_write_file(const struct sweep *sweep, const char *name, const void *bytes, size_t count);

/* ---- sweep_run.c: runs what is open; failures of cells are recorded, not returned. */
int sweep_run(struct sweep *sweep);

/* ---- sweep_results.c */
/* The number that maps and arrays show: --metric, or what the task is judged by. */
enum sweep_number sweep_metric(const struct sweep *sweep);
const char *sweep_metric_name(const struct sweep *sweep, enum sweep_number number);
/* Refuses a --metric that is not among the numbers of results, once every method has one. */
int sweep_check_metric(const struct sweep *sweep);
/* Its value in a cell; NaN if the cell is not done or has none. */
double sweep_number_of(const struct sweep *sweep, size_t cell, enum sweep_number metric);
int sweep_write_results(const struct sweep *sweep, enum sweep_number metric);

/* ---- sweep_plot.c: heatmaps by gnuplot. Sets *plotted; a missing gnuplot is no failure. */
int sweep_plot(const struct sweep *sweep, enum sweep_number metric, bool *plotted);

#endif
