/* What a sweep keeps in its folder.
 *
 *   sweep.json   task, axes and options: a sweep with others is refused
 *   cells.jsonl  one line per ended cell: method, axes, seed, status, result or message
 *
 * A line of cells.jsonl is appended by one write after its cell has ended. A process that is killed
 * within leaves a last line without its end, which is cut off when the file is opened again. A lock
 * on the file keeps two sweeps from one folder. */
#include "cli/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const STATES[] = {
    [CELL_DONE] = "done", [CELL_REFUSED] = "refused", [CELL_FAILED] = "failed"};

static int record_failure(const struct sweep *sweep, const char *name, const char *what)
{
    return failure("--out: '%s/%s' %s: %s", sweep->settings->out, name, what, strerror(errno));
}

/* Opens a file of the folder; anything but a regular one could block or never end. *file <- -1 if
 * it is not there and isn't to be made. */
static int open_regular(const struct sweep *sweep, const char *name, int flags, int *file)
{
    struct stat state;
    *file = openat(sweep->folder, name, flags | O_NONBLOCK | O_CLOEXEC, 0666);
    if (*file < 0)
        return errno == ENOENT && !(flags & O_CREAT)
                   ? EXIT_DONE
                   : record_failure(sweep, name, "cannot be opened");
    if (!fstat(*file, &state) && S_ISREG(state.st_mode))
        return EXIT_DONE;
    close(*file);
    *file = -1;
    return failure("--out: '%s/%s' is not a regular file", sweep->settings->out, name);
}

/* All bytes, or false and errno. */
static bool write_all(int file, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(file, bytes, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return false;
        bytes += written;
        count -= (size_t)written;
    }
    return true;
}

int sweep_write_file(const struct sweep *sweep, const char *name, const void *bytes, size_t count)
{
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".%s.part", name);
    int file = openat(sweep->folder, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        return record_failure(sweep, name, "cannot be written");
    bool written = write_all(file, bytes, count) && fsync(file) == 0;
    if (close(file))
        written = false;
    if (!written || renameat(sweep->folder, temporary, sweep->folder, name)) {
        int error = errno;
        unlinkat(sweep->folder, temporary, 0);
        errno = error;
        return record_failure(sweep, name, "cannot be written");
    }
    return EXIT_DONE;
}

/* ---------------------------------------------------------------- settings */

static json_t *words_json(const word_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->words[i]));
    return array;
}

static json_t *settings_json(const struct sweep *sweep)
{
    json_t *settings = json_object(), *axes = json_array(), *methods = json_object();
    json_put(settings, "version", json_string(reliht_version()));
    json_put(settings, "task", json_string(sweep->task->name));
    for (size_t axis = 0; axis < 2; axis++)
        json_array_append_new(axes, json_string(sweep->axes[axis]));
    json_put(settings, "axes", axes);
    json_put(settings, "options", words_json(&sweep->common));
    for (size_t i = 0; i < sweep->method_count; i++)
        json_put(methods, sweep->methods[i]->name, words_json(&sweep->particular[i]));
    json_put(settings, "methods", methods);
    return settings;
}

static int differing(const struct sweep *sweep, const char *what, const json_t *old,
                     const json_t *new)
{
    char *was = json_dumps(old, JSON_ENCODE_ANY | JSON_COMPACT);
    char *is = json_dumps(new, JSON_ENCODE_ANY | JSON_COMPACT);
    int status = failure("--out: '%s' holds a sweep with another %s, %s and not %s; continue that "
                         "one with its own options, or give another folder",
                         sweep->settings->out, what, was ? was : "nothing", is ? is : "nothing");
    free(was);
    free(is);
    return status;
}

/* The grid may grow from run to run; everything else is as it was. Methods that were in the folder
 * and are not asked for now stay recorded. */
static int compare_settings(const struct sweep *sweep, const json_t *old, json_t *new)
{
    static const char *const keys[] = {"version", "task", "axes", "options"};
    static const char *const names[] = {"version of the program", "task", "pair of axes",
                                        "set of options"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const json_t *was = json_object_get(old, keys[i]), *is = json_object_get(new, keys[i]);
        if (!json_equal(was, is))
            return differing(sweep, names[i], was, is);
    }
    const char *name;
    json_t *words, *methods = json_object_get(new, "methods");
    json_object_foreach(json_object_get(old, "methods"), name, words)
    {
        const json_t *is = json_object_get(methods, name);
        char what[64];
        snprintf(what, sizeof what, "set of options for %s", name);
        if (is && !json_equal(words, is))
            return differing(sweep, what, words, is);
        if (!is)
            json_object_set(methods, name, words);
    }
    return EXIT_DONE;
}

static int keep_settings(const struct sweep *sweep)
{
    json_error_t error;
    json_t *old = NULL, *new = settings_json(sweep);
    int file, status = open_regular(sweep, "sweep.json", O_RDONLY, &file);
    if (status != EXIT_DONE)
        goto done;
    if (file >= 0) {
        old = json_loadfd(file, 0, &error);
        close(file);
        status = json_is_object(old) ? compare_settings(sweep, old, new)
                                     : failure("--out: '%s/sweep.json' is not what a sweep writes",
                                               sweep->settings->out);
    }
    if (status == EXIT_DONE && !json_equal(old, new)) {
        char *text = json_dumps(new, JSON_INDENT(2));
        status = text ? sweep_write_file(sweep, "sweep.json", text, strlen(text))
                      : failure("out of memory");
        free(text);
    }
done:
    json_decref(old);
    json_decref(new);
    return status;
}

/* ---------------------------------------------------------------- cells */

void sweep_take_numbers(const struct sweep *sweep, struct cell *cell, const json_t *result)
{
    static const char *const names[] = {
#define SWEEP_NAME(name) #name,
        SWEEP_NUMBERS(SWEEP_NAME)
#undef SWEEP_NAME
    };
    for (size_t i = 0; i < NUMBER_metric; i++) {
        const json_t *value = json_object_get(result, names[i]);
        cell->numbers[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
    const char *name;
    json_t *number;
    json_object_foreach((json_t *)result, name, number)
    {
        if (json_is_number(number) || json_is_null(number)) /* null: not finite */
            json_object_set(sweep->names, name, number);
    }
    const json_t *value =
        sweep->settings->metric ? json_object_get(result, sweep->settings->metric) : NULL;
    cell->numbers[NUMBER_metric] = json_is_number(value) ? json_number_value(value) : NAN;
}

static bool find_value(const value_list *list, const json_t *value, size_t *place)
{
    for (*place = 0; *place < list->count; (*place)++) {
        if (json_is_integer(value) && (uint64_t)json_integer_value(value) == list->values[*place])
            return true;
    }
    return false;
}

/* The cell that a line is about; false if it isn't in the grid. */
static bool find_cell(const struct sweep *sweep, const json_t *line, size_t *cell)
{
    cell_place place;
    const char *name = json_string_value(json_object_get(line, "method"));
    for (place.method = 0; name && place.method < sweep->method_count; place.method++) {
        if (!strcmp(sweep->methods[place.method]->name, name))
            break;
    }
    if (!name || place.method == sweep->method_count ||
        !find_value(&sweep->rows, json_object_get(line, sweep->axes[0]), &place.row) ||
        !find_value(&sweep->columns, json_object_get(line, sweep->axes[1]), &place.column) ||
        !find_value(&sweep->seeds, json_object_get(line, "seed"), &place.seed))
        return false;
    *cell = sweep_cell(sweep, place);
    return true;
}

/* What the line says into its cell; later lines replace earlier ones. */
static bool take_line(struct sweep *sweep, const json_t *line)
{
    size_t number;
    const char *status = json_string_value(json_object_get(line, "status"));
    const char *message = json_string_value(json_object_get(line, "message"));
    if (!json_is_object(line) || !status)
        return false;
    if (!find_cell(sweep, line, &number))
        return true;
    struct cell *cell = &sweep->cells[number];
    for (int state = CELL_DONE; state <= CELL_FAILED; state++) {
        if (!strcmp(status, STATES[state]))
            cell->state = (enum cell_state)state;
    }
    cell->wall = json_number_value(json_object_get(line, "wall_seconds"));
    free(cell->message);
    cell->message = message ? strdup(message) : NULL;
    sweep_take_numbers(sweep, cell, json_object_get(line, "result"));
    return true;
}

static int read_cells(struct sweep *sweep)
{
    char *text = NULL;
    size_t room = 0, number = 0;
    off_t whole = 0;
    int status = EXIT_DONE, copy = fcntl(sweep->record, F_DUPFD_CLOEXEC, 0);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "r");
    if (!file)
        return record_failure(sweep, "cells.jsonl", "cannot be read");
    for (ssize_t length; status == EXIT_DONE && (length = getline(&text, &room, file)) > 0;) {
        if (text[length - 1] != '\n')
            break; /* the end of a killed sweep */
        number++;
        whole += length;
        json_t *line = json_loadb(text, (size_t)length, 0, NULL);
        if (!take_line(sweep, line))
            status = failure("--out: '%s/cells.jsonl': line %zu is not what a sweep writes; remove "
                             "the line to have its cell run again",
                             sweep->settings->out, number);
        json_decref(line);
    }
    if (status == EXIT_DONE && (ferror(file) || ftruncate(sweep->record, whole)))
        status = record_failure(sweep, "cells.jsonl", "cannot be read and continued");
    free(text);
    fclose(file);
    return status;
}

int sweep_record_open(struct sweep *sweep)
{
    const char *out = sweep->settings->out;
    if (mkdir(out, 0777) && errno != EEXIST)
        return failure("--out: '%s' cannot be made: %s", out, strerror(errno));
    sweep->folder = open(out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (sweep->folder < 0)
        return failure("--out: '%s' is no folder that can be used: %s", out, strerror(errno));
    int status = open_regular(sweep, "cells.jsonl", O_RDWR | O_CREAT | O_APPEND, &sweep->record);
    if (status != EXIT_DONE)
        return status;
    if (flock(sweep->record, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK ? failure("--out: another sweep is running in '%s'", out)
                                    : record_failure(sweep, "cells.jsonl", "cannot be locked");
    sweep->names = json_object();
    status = sweep->names ? keep_settings(sweep) : failure("out of memory");
    return status == EXIT_DONE ? read_cells(sweep) : status;
}

/* One line about an ended cell; to be freed, NULL without memory. */
static char *cell_text(const struct sweep *sweep, size_t number, json_t *result)
{
    cell_place place = sweep_place(sweep, number);
    const struct cell *cell = &sweep->cells[number];
    json_t *line = json_object();
    json_put(line, "method", json_string(sweep->methods[place.method]->name));
    json_put_count(line, sweep->axes[0], sweep->rows.values[place.row]);
    json_put_count(line, sweep->axes[1], sweep->columns.values[place.column]);
    json_put_count(line, "seed", sweep->seeds.values[place.seed]);
    json_put(line, "status", json_string(STATES[cell->state]));
    json_put(line, "wall_seconds", json_number(cell->wall));
    if (cell->message)
        json_put(line, "message", json_string(cell->message));
    if (result)
        json_put(line, "result", json_incref(result));
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(line);
    return text;
}

int sweep_record_group(struct sweep *sweep, const cell_group *group, json_t *const results[])
{
    char *text = NULL;
    size_t count = 0;
    FILE *stream = open_memstream(&text, &count);
    bool complete = stream != NULL;
    for (size_t i = 0; i < group->count && complete; i++) {
        char *line = cell_text(sweep, group->cells[i], results[i]);
        complete = line && fprintf(stream, "%s\n", line) > 0;
        free(line);
    }
    if (stream && fclose(stream))
        complete = false;
    off_t before = lseek(sweep->record, 0, SEEK_END);
    int status = complete ? EXIT_DONE : failure("out of memory for the record of a cell");
    if (complete && !(write_all(sweep->record, text, count) && fdatasync(sweep->record) == 0)) {
        status = record_failure(sweep, "cells.jsonl", "cannot be written");
        /* Without the part of a line, if that can be done; the next run cuts it off otherwise. */
        if (before >= 0 && ftruncate(sweep->record, before))
            status = EXIT_FAILED;
    }
    free(text);
    return status;
}
