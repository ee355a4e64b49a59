/* `reliht sweep TASK`: a task over a grid. Its command line holds that of the task, so it is sorted
 * into words before anything reads them: options of the sweep itself, lists for the two axes,
 * options for one method (--METHOD:name), and the rest, which every method gets. A word that begins
 * with -- starts an option; what follows belongs to it. */
#include "cli/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SWEEPABLE (TRAIN | PLANTED | INR | SENSE)
#define NAMED_MAXIMUM 20u /* cells that cannot exist or have failed, named one by one */

/* ---------------------------------------------------------------- sorting the words */

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] == '-' && word[2];
}

static bool named(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && !strncmp(name, other, length);
}

/* Options that the sweep reads itself. (--hidden and --nnz are in its table for help: they are
 * axes, or the task's.) */
static bool is_own(const struct command *command, const char *name, size_t length)
{
    if (named(name, length, "help"))
        return true;
    return options_known(command, name, length) && !named(name, length, "hidden") &&
           !named(name, length, "nnz");
}

static int add_word(const struct sweep *sweep, word_list *list, const char *word)
{
    if (!list)
        return EXIT_DONE;
    if (list->count == OPTIONS_MAXIMUM)
        return usage_error(sweep->command, "more than %u words", OPTIONS_MAXIMUM);
    list->words[list->count++] = word;
    return EXIT_DONE;
}

/* The sweep's own options, "sweep" first as a command line has it. */
static int own_words(const struct sweep *sweep, int argc, const char **argv, word_list *own)
{
    word_list *target = NULL;
    own->words[own->count++] = argv[0];
    for (int i = 1; i < argc; i++) {
        if (is_option(argv[i]))
            target = is_own(sweep->command, argv[i] + 2, strcspn(argv[i] + 2, "=")) ? own : NULL;
        int status = add_word(sweep, strcmp(argv[i], "-h") ? target : own, argv[i]);
        if (status != EXIT_DONE)
            return status;
    }
    return EXIT_DONE;
}

/* What each cell sets or would write over. */
static int check_handed_on(const struct sweep *sweep, const char *name, size_t length)
{
    static const char *const written[] = {"model", "log", "out", "picture"};
    if (named(name, length, "seed"))
        return usage_error(sweep->command, "--seed: give --seeds LIST");
    if (named(name, length, "solver"))
        return usage_error(sweep->command, "--solver: the solvers are methods, give --method LIST");
    for (size_t i = 0; i < sizeof written / sizeof written[0]; i++) {
        if (named(name, length, written[i]))
            return usage_error(sweep->command, "--%s: every cell would write the same file",
                               written[i]);
    }
    for (size_t axis = 0; axis < 2; axis++) {
        if (named(name, length, sweep->axes[axis]))
            return usage_error(sweep->command, "--%s is an axis, the same for all methods",
                               sweep->axes[axis]);
    }
    return EXIT_DONE;
}

/* --METHOD:name is --name for one method. */
static int particular_target(struct sweep *sweep, const char *name, size_t method_length,
                             word_list **target)
{
    for (size_t i = 0; i < sweep->method_count; i++) {
        if (named(name, method_length, sweep->methods[i]->name)) {
            *target = &sweep->particular[i];
            return EXIT_DONE;
        }
    }
    return usage_error(sweep->command, "--%s: '%.*s' is no method of this sweep (--method)", name,
                       (int)method_length, name);
}

/* Takes one option, "--name" or "--name=value", and finds where the words after it go. */
static int take_option(struct sweep *sweep, const char *word, word_list *values, word_list *ignored,
                       word_list **target)
{
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const char *colon = memchr(name, ':', length);
    int status = EXIT_DONE;
    for (int axis = 0; axis < 2; axis++) {
        if (named(name, length, sweep->axes[axis])) {
            *target = &values[axis];
            values[axis].count = 0;
            return name[length] ? add_word(sweep, *target, name + length + 1) : EXIT_DONE;
        }
    }
    *target = ignored;
    if (is_own(sweep->command, name, length))
        return EXIT_DONE;
    *target = &sweep->common;
    if (colon && colon[1] == 0)
        return usage_error(sweep->command, "%s: the name of an option is missing", word);
    if (colon) {
        status = particular_target(sweep, name, (size_t)(colon - name), target);
        length -= (size_t)(colon + 1 - name);
        name = colon + 1;
    }
    if (status == EXIT_DONE)
        status = check_handed_on(sweep, name, length);
    if (status != EXIT_DONE || !colon)
        return status == EXIT_DONE ? add_word(sweep, *target, word) : status;
    char **copy = &sweep->owned[sweep->owned_count];
    if (sweep->owned_count == OPTIONS_MAXIMUM || asprintf(copy, "--%s", name) < 0)
        return usage_error(sweep->command, "more than %u options", OPTIONS_MAXIMUM);
    sweep->owned_count++;
    return add_word(sweep, *target, *copy);
}

/* Sorts what is not the sweep's own: lists of the axes into `values`, the rest to the methods. */
static int task_words(struct sweep *sweep, int argc, const char **argv, word_list values[2])
{
    word_list ignored = {.count = 0}, *target = NULL;
    for (int i = 2; i < argc; i++) {
        int status;
        ignored.count = 0;
        if (is_option(argv[i]))
            status = take_option(sweep, argv[i], values, &ignored, &target);
        else if (target)
            status = add_word(sweep, target, argv[i]);
        else
            status = usage_error(sweep->command, "'%s' is not expected here; options begin with --",
                                 argv[i]);
        if (status != EXIT_DONE)
            return status;
    }
    return EXIT_DONE;
}

/* ---------------------------------------------------------------- the grid */

static int read_axes(struct sweep *sweep)
{
    const char *text = sweep->settings->axes;
    if (!text)
        text = sweep->task->bit == SENSE ? "length,nnz" : "hidden,nnz";
    const char *comma = strchr(text, ',');
    if (!comma || strchr(comma + 1, ','))
        return usage_error(sweep->command, "--axes: '%s' is not two names, as in hidden,nnz", text);
    const char *const names[2] = {text, comma + 1};
    const size_t lengths[2] = {(size_t)(comma - text), strlen(comma + 1)};
    for (size_t axis = 0; axis < 2; axis++) {
        if (!options_counted(sweep->task, names[axis], lengths[axis]) ||
            lengths[axis] >= sizeof sweep->axes[axis] ||
            named(names[axis], lengths[axis], "seed") ||
            named(names[axis], lengths[axis], "threads"))
            return usage_error(sweep->command,
                               "--axes: '%.*s' is no option of %s that can vary; it must take a "
                               "whole number",
                               (int)lengths[axis], names[axis], sweep->task->name);
        snprintf(sweep->axes[axis], sizeof sweep->axes[axis], "%.*s", (int)lengths[axis],
                 names[axis]);
    }
    if (!strcmp(sweep->axes[0], sweep->axes[1]))
        return usage_error(sweep->command, "--axes: '%s' twice", sweep->axes[0]);
    return EXIT_DONE;
}

static int read_methods(struct sweep *sweep)
{
    char names[128];
    const char *text = sweep->settings->methods ? sweep->settings->methods : "aiht";
    while (true) {
        size_t length = strcspn(text, ",");
        const struct sweep_method *method = sweep_method_find(text, length);
        if (!method || !(method->tasks & sweep->task->bit))
            return usage_error(sweep->command, "--method: '%.*s' is not one of %s", (int)length,
                               text, sweep_method_names(sweep->task, names, sizeof names));
        for (size_t i = 0; i < sweep->method_count; i++) {
            if (sweep->methods[i] == method)
                return usage_error(sweep->command, "--method: '%s' twice", method->name);
        }
        if (sweep->method_count == SWEEP_METHODS_MAXIMUM)
            return usage_error(sweep->command, "--method: more than %u", SWEEP_METHODS_MAXIMUM);
        sweep->methods[sweep->method_count++] = method;
        if (!text[length])
            return EXIT_DONE;
        text += length + 1;
    }
}

static int read_list(const struct sweep *sweep, const char *name, const char *text,
                     value_list *list)
{
    const char *problem;
    if (!text)
        return usage_error(sweep->command, "which values? Give --%s LIST", name);
    if (!value_list_read(text, list, &problem))
        return usage_error(sweep->command, "--%s: '%s' %s", name, text, problem);
    return EXIT_DONE;
}

static int read_grid(struct sweep *sweep, const word_list values[2])
{
    value_list *const lists[2] = {&sweep->rows, &sweep->columns};
    const char *seeds = sweep->settings->seeds ? sweep->settings->seeds : "0";
    int status = EXIT_DONE;
    for (size_t axis = 0; axis < 2 && status == EXIT_DONE; axis++) {
        if (values[axis].count > 1)
            return usage_error(sweep->command, "'%s' is not expected here; lists have no spaces",
                               values[axis].words[1]);
        status = read_list(sweep, sweep->axes[axis],
                           values[axis].count ? values[axis].words[0] : NULL, lists[axis]);
    }
    if (status == EXIT_DONE)
        status = read_list(sweep, "seeds", seeds, &sweep->seeds);
    if (status != EXIT_DONE)
        return status;
    double cells = (double)sweep->method_count * (double)sweep->rows.count *
                   (double)sweep->columns.count * (double)sweep->seeds.count;
    if (cells > SWEEP_CELLS_MAXIMUM)
        return usage_error(sweep->command, "the grid has %.0f cells; at most %u are possible",
                           cells, SWEEP_CELLS_MAXIMUM);
    sweep->cell_count = (size_t)cells;
    sweep->cells = calloc(sweep->cell_count, sizeof *sweep->cells);
    return sweep->cells ? EXIT_DONE : failure("out of memory for %.0f cells", cells);
}

/* Has the command line of one cell read as its process will. */
static int check_cell(const struct sweep *sweep, size_t cell)
{
    const cell_group group = {{cell}, 1};
    group_line line;
    struct settings settings;
    bool help;
    sweep_group_line(sweep, &group, 1, &line);
    const struct command *command = command_find(line.words[1]);
    if (!command)
        return usage_error(sweep->command, "there is no command '%s'", line.words[1]);
    int status = options_parse(command, line.count - 1, line.words + 1, &settings, &help);
    settings_release(&settings);
    return status;
}

/* Checks cells along diagonals of the grid: every method with every value. */
static int check_cells(const struct sweep *sweep)
{
    size_t most = sweep->rows.count;
    most = sweep->columns.count > most ? sweep->columns.count : most;
    most = sweep->seeds.count > most ? sweep->seeds.count : most;
    for (size_t method = 0; method < sweep->method_count; method++) {
        for (size_t i = 0; i < most; i++) {
            const cell_place place = {method, i % sweep->rows.count, i % sweep->columns.count,
                                      i % sweep->seeds.count};
            int status = check_cell(sweep, sweep_cell(sweep, place));
            if (status != EXIT_DONE)
                return status;
        }
    }
    return EXIT_DONE;
}

/* ---------------------------------------------------------------- what came of it */

static size_t count_cells(const struct sweep *sweep, enum cell_state state)
{
    size_t count = 0;
    for (size_t cell = 0; cell < sweep->cell_count; cell++)
        count += sweep->cells[cell].state == state;
    return count;
}

/* Names the cells in a state with what was said of them, seeds of the same only once. */
static void name_cells(const struct sweep *sweep, enum cell_state state, const char *what)
{
    char name[160];
    size_t shown = 0, all = 0;
    for (size_t number = 0; number < sweep->cell_count; number++) {
        const struct cell *cell = &sweep->cells[number], *before = cell - 1;
        if (cell->state != state)
            continue;
        if (sweep_place(sweep, number).seed && before->state == state && before->message &&
            cell->message && !strcmp(before->message, cell->message))
            continue;
        if (all++ >= NAMED_MAXIMUM)
            continue;
        shown++;
        fprintf(stderr, "reliht: %s: %s: %s\n", what,
                sweep_cell_name(sweep, number, name, sizeof name),
                cell->message ? cell->message : "no message");
    }
    if (all > shown)
        fprintf(stderr, "reliht: %s: %zu more, see cells.jsonl\n", what, all - shown);
}

static void put_path(json_t *object, const char *key, const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) >= 0) {
        json_put(object, key, json_string(path));
        free(path);
    }
}

static int print_json(const struct sweep *sweep, const char *metric, bool plotted)
{
    const char *out = sweep->settings->out;
    json_t *result = json_object();
    json_put(result, "command", json_string("sweep"));
    json_put(result, "task", json_string(sweep->task->name));
    json_put(result, "metric", json_string(metric));
    json_put_count(result, "cells", sweep->cell_count);
    json_put_count(result, "done", count_cells(sweep, CELL_DONE));
    json_put_count(result, "refused", count_cells(sweep, CELL_REFUSED));
    json_put_count(result, "failed", count_cells(sweep, CELL_FAILED));
    put_path(result, "csv", out, "results.csv");
    put_path(result, "npy", out, "results.npy");
    if (plotted) {
        put_path(result, "svg", out, "heatmap.svg");
        put_path(result, "png", out, "heatmap.png");
    }
    bool lost = json_print_line(result, stdout) != 0;
    json_decref(result);
    return lost ? failure("the result could not be printed") : EXIT_DONE;
}

static void print_facts(const struct sweep *sweep, bool plotted)
{
    const char *out = sweep->settings->out;
    printf("%-16s%zu of %zu done, %zu cannot exist, %zu failed\n", "cells",
           count_cells(sweep, CELL_DONE), sweep->cell_count, count_cells(sweep, CELL_REFUSED),
           count_cells(sweep, CELL_FAILED));
    printf("%-16s%s/results.csv, %s/results.npy\n", "results", out, out);
    if (plotted)
        printf("%-16s%s/heatmap.svg, %s/heatmap.png\n", "figures", out, out);
}

static int report(const struct sweep *sweep)
{
    enum sweep_number metric = sweep_metric(sweep);
    bool plotted = false;
    name_cells(sweep, CELL_REFUSED, "cannot exist");
    name_cells(sweep, CELL_FAILED, "failed");
    int status = sweep_write_results(sweep, metric);
    if (status == EXIT_DONE && count_cells(sweep, CELL_DONE))
        status = sweep_plot(sweep, metric, &plotted);
    if (status != EXIT_DONE)
        return status;
    if (sweep->settings->json)
        status = print_json(sweep, sweep_metric_name(sweep, metric), plotted);
    else
        print_facts(sweep, plotted);
    if (status != EXIT_DONE)
        return status;
    if (progress_signal())
        return 128 + progress_signal();
    if (count_cells(sweep, CELL_REFUSED) == sweep->cell_count)
        return usage_error(sweep->command, "not one of the cells can exist");
    return count_cells(sweep, CELL_FAILED)
               ? failure("%zu cells failed; the same command tries them again",
                         count_cells(sweep, CELL_FAILED))
               : EXIT_DONE;
}

/* ---------------------------------------------------------------- the command */

/* NULL after a message if the first word is no task that can be swept. */
static const struct command *find_task(const struct command *command, int argc, const char **argv)
{
    const struct command *task = argc < 2 ? NULL : command_find(argv[1]);
    if (task && task->bit & SWEEPABLE)
        return task;
    if (argc < 2 || argv[1][0] == '-')
        usage_error(command, "which task? There is `reliht sweep TASK` for train, planted, inr and "
                             "sense");
    else
        usage_error(command, "'%s' is not one of train, planted, inr, sense", argv[1]);
    return NULL;
}

static int prepare(struct sweep *sweep, int argc, const char **argv)
{
    word_list values[2] = {{.count = 0}, {.count = 0}};
    int status = read_axes(sweep);
    if (status == EXIT_DONE)
        status = read_methods(sweep);
    if (status == EXIT_DONE)
        status = task_words(sweep, argc, argv, values);
    if (status == EXIT_DONE)
        status = read_grid(sweep, values);
    if (status == EXIT_DONE)
        status = check_cells(sweep);
    if (status == EXIT_DONE && !sweep->settings->out)
        status = usage_error(sweep->command, "where to? Give --out DIR");
    return status;
}

static void release(struct sweep *sweep)
{
    for (size_t cell = 0; sweep->cells && cell < sweep->cell_count; cell++)
        free(sweep->cells[cell].message);
    free(sweep->cells);
    for (size_t i = 0; i < sweep->owned_count; i++)
        free(sweep->owned[i]);
    json_decref(sweep->names);
    if (sweep->record >= 0)
        close(sweep->record);
    if (sweep->folder >= 0)
        close(sweep->folder);
}

int command_sweep(const struct command *command, int argc, const char **argv)
{
    struct settings settings;
    struct sweep sweep = {.command = command, .settings = &settings, .folder = -1, .record = -1};
    word_list own = {.count = 0};
    bool help = false;
    int status = own_words(&sweep, argc, argv, &own);
    if (status != EXIT_DONE)
        return status;
    status = options_parse(command, (int)own.count, own.words, &settings, &help);
    if (status == EXIT_DONE && help) {
        settings_release(&settings);
        return options_help(command);
    }
    if (status == EXIT_DONE && !(sweep.task = find_task(command, argc, argv)))
        status = EXIT_USAGE;
    if (status == EXIT_DONE)
        status = prepare(&sweep, argc, argv);
    if (status == EXIT_DONE)
        status = sweep_record_open(&sweep);
    if (status == EXIT_DONE)
        status = sweep_check_metric(&sweep);
    if (status == EXIT_DONE)
        status = sweep_run(&sweep);
    if (status == EXIT_DONE)
        status = report(&sweep);
    release(&sweep);
    settings_release(&settings);
    return status;
}
