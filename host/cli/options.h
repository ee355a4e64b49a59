/* Every option of every command, described once: its name, what it takes, what it means, which
 * commands know it. Defaults are set per command and shown by help from what is set. */
#ifndef RELIHT_CLI_OPTIONS_H
#define RELIHT_CLI_OPTIONS_H

#include <reliht/reliht.h>

/* Values of options that were not given and have no default of their own. */
#define UNSET_COUNT UINT64_MAX
#define UNSET_CHOICE (-1)
#define LIST_MAXIMUM 256u
#define OPTIONS_MAXIMUM 128u /* given in one call */

typedef struct number_list {
    uint32_t values[LIST_MAXIMUM];
    size_t count; /* 0: unset */
} number_list;

/* A choice is the place of the word in the option's list; the lists follow the library's enums. */
struct settings {
    /* network */
    uint64_t hidden, nnz, layers;
    bool bias, no_bias, convex, no_screening;
    int signs, generator;
    const char *generators;
    /* training */
    uint64_t epochs, batch, refits, seed;
    int solver, loss, importance, step, returned;
    double validation, tolerance;
    /* pruning */
    number_list targets;
    double prune_rate, learning_rate;
    uint64_t epochs_final, planted_nnz;
    /* data */
    int data, split, part;
    const char *data_dir, *x, *y, *x_test, *y_test;
    number_list classes;
    bool raw;
    uint64_t train_limit, test_limit;
    /* planted networks, images, sensing, benchmark */
    uint64_t inputs, outputs, samples, planted_hidden;
    bool disjoint;
    double magnitude_minimum, noise, correlation, density;
    const char *inputs_from;
    int inputs_draw;
    uint64_t directions, searches;
    const char *image;
    uint64_t features;
    double sigma;
    int coordinates;
    uint64_t length, measurements, repeats;
    /* files, program */
    const char *model, *log, *out, *picture;
    bool json, quiet;
    /* sweeps; the values of the axes are read apart (command_sweep.c) */
    const char *axes, *axis_values, *seeds, *methods, *metric;
    uint64_t jobs;
    int backend;
    uint64_t threads;
    int word; /* of the words that some commands take beside options: its place, or UNSET_CHOICE */
    char *owned[OPTIONS_MAXIMUM]; /* texts that the fields above point to */
    size_t owned_count;
};

typedef enum command_bit {
    TRAIN = 1,
    PLANTED = 2,
    INR = 4,
    SENSE = 8,
    EVAL = 16,
    PREDICT = 32,
    INFO = 64,
    BENCH = 128,
    PRUNE = 256,
    SWEEP = 4096,
    CERTIFY = 8192,
} command_bit;

struct command {
    const char *name;
    command_bit bit;
    const char *word;    /* the words it takes beside options, one of "train|planted", or NULL */
    const char *summary; /* one line for the list of commands */
    const char *description;
    const char *example;
    void (*defaults)(struct settings *settings);
    int (*run)(const struct command *command, const struct settings *settings);
};

/* Fills `settings` from the command's defaults and the arguments after its name (argv[0]). Sets
 * *help if --help was among them; otherwise returns EXIT_USAGE, after a message, for anything
 * unknown, malformed or out of range. Release the settings in every case. */
int options_parse(const struct command *command, int argc, const char **argv,
                  struct settings *settings, bool *help);
void settings_release(struct settings *settings);

/* Whether the command has an option of that name (without --), and whether its value is a whole
 * number. */
bool options_known(const struct command *command, const char *name, size_t length);
bool options_counted(const struct command *command, const char *name, size_t length);

/* What the command does, its options with their defaults, an example. */
int options_help(const struct command *command);

#endif
