/* The grid of a sweep: values of the axes, methods, cells and their command lines.
 *
 * Cell [method][row][column][seed] is number ((method R + row) C + column) S + seed. */
#include "cli/sweep.h"

#include <string.h>

static const struct sweep_method METHODS[] = {
    {"aiht", NULL, {"--solver", "aiht"}, TRAIN | PLANTED | INR | SENSE, 0},
    {"recover", NULL, {"--solver", "recover"}, TRAIN | PLANTED | INR, 0},
    {"prune", "prune", {NULL}, TRAIN | PLANTED | INR, TRAIN | INR},
};
#define METHOD_COUNT (sizeof METHODS / sizeof METHODS[0])

/* ---------------------------------------------------------------- values */

/* Digits up to a comma, a minus sign or the end. */
static bool read_number(const char **text, uint64_t *value)
{
    size_t digits = strspn(*text, "0123456789");
    *value = 0;
    if (digits < 1 || digits > 18)
        return false;
    for (size_t i = 0; i < digits; i++)
        *value = 10 * *value + (uint64_t)((*text)[i] - '0');
    *text += digits;
    return true;
}

static bool add_value(value_list *list, uint64_t value, const char **problem)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->values[i] == value) {
            *problem = "has a value twice";
            return false;
        }
    }
    if (list->count == SWEEP_VALUES_MAXIMUM) {
        *problem = "has more than 1000 values";
        return false;
    }
    list->values[list->count++] = value;
    return true;
}

bool value_list_read(const char *text, value_list *list, const char **problem)
{
    list->count = 0;
    while (true) {
        uint64_t first, last;
        *problem = "is not a list of whole numbers, as in 1,2,5-9";
        if (!read_number(&text, &first))
            return false;
        last = first;
        if (*text == '-') {
            text++;
            if (!read_number(&text, &last) || last < first)
                return false;
        }
        for (uint64_t value = first; value <= last; value++) {
            if (!add_value(list, value, problem))
                return false;
        }
        if (!*text)
            return true;
        *problem = "is not a list of whole numbers, as in 1,2,5-9";
        if (*text++ != ',')
            return false;
    }
}

/* ---------------------------------------------------------------- methods */

const struct sweep_method *sweep_method_find(const char *name, size_t length)
{
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        if (strlen(METHODS[i].name) == length && !strncmp(METHODS[i].name, name, length))
            return &METHODS[i];
    }
    return NULL;
}

const char *sweep_method_names(const struct command *task, char *text, size_t bytes)
{
    size_t length = 0;
    text[0] = 0;
    for (size_t i = 0; i < METHOD_COUNT && length < bytes; i++) {
        if (METHODS[i].tasks & task->bit)
            length += (size_t)snprintf(text + length, bytes - length, "%s%s", length ? ", " : "",
                                       METHODS[i].name);
    }
    return text;
}

/* ---------------------------------------------------------------- cells */

cell_place sweep_place(const struct sweep *sweep, size_t cell)
{
    cell_place place;
    place.seed = cell % sweep->seeds.count;
    cell /= sweep->seeds.count;
    place.column = cell % sweep->columns.count;
    cell /= sweep->columns.count;
    place.row = cell % sweep->rows.count;
    place.method = cell / sweep->rows.count;
    return place;
}

size_t sweep_cell(const struct sweep *sweep, cell_place place)
{
    return ((place.method * sweep->rows.count + place.row) * sweep->columns.count + place.column) *
               sweep->seeds.count +
           place.seed;
}

const char *sweep_cell_name(const struct sweep *sweep, size_t cell, char *text, size_t bytes)
{
    cell_place place = sweep_place(sweep, cell);
    snprintf(text, bytes, "%s %s %llu %s %llu seed %llu", sweep->methods[place.method]->name,
             sweep->axes[0], (unsigned long long)sweep->rows.values[place.row], sweep->axes[1],
             (unsigned long long)sweep->columns.values[place.column],
             (unsigned long long)sweep->seeds.values[place.seed]);
    return text;
}

bool sweep_is_open(const struct cell *cell)
{
    return (cell->state == CELL_OPEN || cell->state == CELL_FAILED) && !cell->started;
}

void sweep_gather(const struct sweep *sweep, size_t cell, cell_group *group)
{
    cell_place place = sweep_place(sweep, cell);
    bool shared = sweep->methods[place.method]->shared & sweep->task->bit &&
                  !strcmp(sweep->axes[1], "nnz") && !sweep->cells[cell].alone;
    group->cells[0] = cell;
    group->count = 1;
    for (place.column++; shared && place.column < sweep->columns.count; place.column++) {
        size_t other = sweep_cell(sweep, place);
        if (sweep_is_open(&sweep->cells[other]) && !sweep->cells[other].alone &&
            group->count < SWEEP_SHARED_MAXIMUM)
            group->cells[group->count++] = other;
    }
}

/* ---------------------------------------------------------------- command lines */

static void add_word(group_line *line, const char *word)
{
    line->words[line->count++] = word;
}

static void add_number(group_line *line, const char *option, char text[24], uint64_t value)
{
    snprintf(text, 24, "%llu", (unsigned long long)value);
    add_word(line, option);
    add_word(line, text);
}

static void add_words(group_line *line, const word_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        add_word(line, list->words[i]);
}

static void add_columns(const struct sweep *sweep, const cell_group *group, group_line *line)
{
    size_t length = 0;
    for (size_t i = 0; i < group->count; i++) {
        size_t column = sweep_place(sweep, group->cells[i]).column;
        length += (size_t)snprintf(line->columns + length, sizeof line->columns - length, "%s%llu",
                                   i ? "," : "", (unsigned long long)sweep->columns.values[column]);
    }
    add_word(line, line->options[1]);
    add_word(line, line->columns);
}

void sweep_group_line(const struct sweep *sweep, const cell_group *group, uint64_t threads,
                      group_line *line)
{
    cell_place place = sweep_place(sweep, group->cells[0]);
    const struct sweep_method *method = sweep->methods[place.method];
    line->count = 0;
    add_word(line, "reliht");
    if (method->command)
        add_word(line, method->command);
    add_word(line, sweep->task->name);
    for (size_t i = 0; i < sizeof method->words / sizeof method->words[0] && method->words[i]; i++)
        add_word(line, method->words[i]);
    for (size_t axis = 0; axis < 2; axis++)
        snprintf(line->options[axis], sizeof line->options[axis], "--%s", sweep->axes[axis]);
    add_number(line, line->options[0], line->row, sweep->rows.values[place.row]);
    add_columns(sweep, group, line);
    add_number(line, "--seed", line->seed, sweep->seeds.values[place.seed]);
    add_number(line, "--threads", line->threads, threads);
    add_word(line, "--json");
    add_word(line, "--quiet");
    add_words(line, &sweep->common);
    add_words(line, &sweep->particular[place.method]);
    line->words[line->count] = NULL;
}
