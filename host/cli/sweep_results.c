/* What a sweep leaves for other programs: results.csv, a line per cell that has ended, and
 * results.npy, the chosen number of every cell, float64 [methods, rows, columns, seeds], NaN where
 * there is none. */
#include "cli/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RECOVERED_ERROR                                                       \
    1e-4 /* relative error of the weights below which they count as recovered \
          */

static const char *const NAMES[] = {
#define SWEEP_NAME(name) #name,
    SWEEP_NUMBERS(SWEEP_NAME)
#undef SWEEP_NAME
};

static bool any(const struct sweep *sweep, enum sweep_number number)
{
    for (size_t cell = 0; cell < sweep->cell_count; cell++) {
        if (sweep->cells[cell].state == CELL_DONE && !isnan(sweep->cells[cell].numbers[number]))
            return true;
    }
    return false;
}

enum sweep_number sweep_metric(const struct sweep *sweep)
{
    if (sweep->settings->metric)
        return NUMBER_metric;
    if (sweep->task->bit == SENSE)
        return NUMBER_support_recall;
    if (sweep->task->bit != TRAIN)
        return NUMBER_psnr_db;
    if (any(sweep, NUMBER_test_accuracy))
        return NUMBER_test_accuracy;
    return any(sweep, NUMBER_psnr_db) ? NUMBER_psnr_db : NUMBER_train_accuracy;
}

const char *sweep_metric_name(const struct sweep *sweep, enum sweep_number number)
{
    return number == NUMBER_metric ? sweep->settings->metric : NAMES[number];
}

/* Whether a method has a result, or can have none. */
static bool has_told(const struct sweep *sweep, size_t method)
{
    size_t each = sweep->cell_count / sweep->method_count, refused = 0;
    const struct cell *cells = &sweep->cells[method * each];
    for (size_t i = 0; i < each; i++) {
        if (cells[i].state == CELL_DONE)
            return true;
        refused += cells[i].state == CELL_REFUSED;
    }
    return refused == each;
}

int sweep_check_metric(const struct sweep *sweep)
{
    const char *metric = sweep->settings->metric, *name;
    json_t *value;
    char there[2048] = "";
    size_t length = 0;
    if (!metric || !json_object_size(sweep->names))
        return EXIT_DONE;
    if (json_object_get(sweep->names, strcmp(metric, "recovered") ? metric : "weight_rel_error"))
        return EXIT_DONE;
    for (size_t method = 0; method < sweep->method_count; method++) {
        if (!has_told(sweep, method))
            return EXIT_DONE;
    }
    json_object_foreach(sweep->names, name, value)
    {
        if (length < sizeof there)
            length += (size_t)snprintf(there + length, sizeof there - length, "%s%s",
                                       length ? ", " : "", name);
    }
    return usage_error(sweep->command,
                       "--metric: no result has a number '%s'; there are %s. What is done is kept",
                       metric, there);
}

double sweep_number_of(const struct sweep *sweep, size_t number, enum sweep_number metric)
{
    const struct cell *cell = &sweep->cells[number];
    if (cell->state != CELL_DONE)
        return NAN;
    if (metric != NUMBER_metric || strcmp(sweep->settings->metric, "recovered") != 0)
        return cell->numbers[metric];
    double error = cell->numbers[NUMBER_weight_rel_error];
    return isnan(error) ? NAN : error < RECOVERED_ERROR;
}

static void write_csv(const struct sweep *sweep, FILE *file)
{
    static const char *const states[] = {
        [CELL_DONE] = "done", [CELL_REFUSED] = "refused", [CELL_FAILED] = "failed"};
    fprintf(file, "method,%s,%s,seed,status", sweep->axes[0], sweep->axes[1]);
    for (size_t i = 0; i < NUMBER_metric; i++)
        fprintf(file, ",%s", NAMES[i]);
    fputc('\n', file);
    for (size_t number = 0; number < sweep->cell_count; number++) {
        const struct cell *cell = &sweep->cells[number];
        cell_place place = sweep_place(sweep, number);
        if (cell->state == CELL_OPEN)
            continue;
        fprintf(file, "%s,%llu,%llu,%llu,%s", sweep->methods[place.method]->name,
                (unsigned long long)sweep->rows.values[place.row],
                (unsigned long long)sweep->columns.values[place.column],
                (unsigned long long)sweep->seeds.values[place.seed], states[cell->state]);
        for (size_t i = 0; i < NUMBER_metric; i++) {
            fputc(',', file);
            if (cell->state == CELL_DONE && !isnan(cell->numbers[i]))
                fprintf(file, "%.12g", cell->numbers[i]);
        }
        fputc('\n', file);
    }
}

/* Version 1.0: magic, length of the header (a multiple of 64 with what is before it), values in C
 * order. */
static void write_npy(const struct sweep *sweep, enum sweep_number metric, FILE *file)
{
    char header[118];
    int length =
        snprintf(header, sizeof header,
                 "{'descr': '<f8', 'fortran_order': False, 'shape': (%zu, %zu, %zu, "
                 "%zu), }",
                 sweep->method_count, sweep->rows.count, sweep->columns.count, sweep->seeds.count);
    memset(header + length, ' ', sizeof header - (size_t)length);
    header[sizeof header - 1] = '\n';
    fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file);
    fwrite(header, 1, sizeof header, file);
    for (size_t number = 0; number < sweep->cell_count; number++) {
        double value = sweep_number_of(sweep, number, metric);
        fwrite(&value, sizeof value, 1, file);
    }
}

/* Closes a stream of open_memstream and writes what it holds. */
static int finish_file(const struct sweep *sweep, const char *name, FILE *stream, char **text,
                       const size_t *count)
{
    bool lost = ferror(stream) != 0;
    if (fclose(stream))
        lost = true;
    int status = lost ? failure("out of memory for '%s'", name)
                      : sweep_write_file(sweep, name, *text, *count);
    free(*text);
    return status;
}

int sweep_write_results(const struct sweep *sweep, enum sweep_number metric)
{
    char *text = NULL;
    size_t count = 0;
    FILE *stream = open_memstream(&text, &count);
    if (!stream)
        return failure("out of memory for 'results.csv'");
    write_csv(sweep, stream);
    int status = finish_file(sweep, "results.csv", stream, &text, &count);
    if (status != EXIT_DONE)
        return status;
    text = NULL;
    stream = open_memstream(&text, &count);
    if (!stream)
        return failure("out of memory for 'results.npy'");
    write_npy(sweep, metric, stream);
    return finish_file(sweep, "results.npy", stream, &text, &count);
}
