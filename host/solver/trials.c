#include "solver/trials.h"

#include "core/rng.h"

#include <math.h>

/* A row in the making, drawn from the stream (seed, RNG_TRIALS, stream). Words 0 to 15 of the
 * stream decide, further ones thin out rows that are too long. */
typedef struct trial {
    uint64_t seed, stream;
    size_t count;
    uint32_t column[TRIAL_LENGTH];
    double value[TRIAL_LENGTH];
} trial;

enum { WORD_KIND = 0, WORD_SIGN = 1, WORD_MORE = 4, PLACE_FIRST = 4, WORD_THIN = 16 };

static uint32_t word(const trial *self, uint32_t index)
{
    return rng_word(self->seed, RNG_TRIALS, self->stream, index);
}

static uint32_t place_below(const trial *self, uint32_t index, size_t bound)
{
    return (uint32_t)rng_below(self->seed, RNG_TRIALS, self->stream, PLACE_FIRST + index, bound);
}

static double sign_of(const trial *self, uint32_t index)
{
    return word(self, WORD_SIGN + index) & 1 ? 1.0 : -1.0;
}

/* Adds to one input; an input too many is left out. */
static void add_input(trial *self, uint32_t column, double value)
{
    size_t at = 0;
    while (at < self->count && self->column[at] < column)
        at++;
    if (at < self->count && self->column[at] == column) {
        self->value[at] += value;
        return;
    }
    if (self->count == TRIAL_LENGTH)
        return;
    for (size_t k = self->count++; k > at; k--) {
        self->column[k] = self->column[k - 1];
        self->value[k] = self->value[k - 1];
    }
    self->column[at] = column;
    self->value[at] = value;
}

/* Adds factor / |row| times the row, each entry with probability `share`. */
static void add_row(trial *self, const sparse *hidden, size_t at, uint32_t part, double factor,
                    double share)
{
    double square = 0;
    for (size_t k = hidden->start[at]; k < hidden->start[at + 1]; k++)
        square += (double)hidden->value[k] * (double)hidden->value[k];
    double scale = square > 0 ? factor / sqrt(square) : 0;
    for (size_t k = hidden->start[at]; k < hidden->start[at + 1]; k++) {
        uint32_t index = WORD_THIN + 2 * (uint32_t)(k - hidden->start[at]) + part;
        if (0x1p-32 * (double)word(self, index) < share)
            add_input(self, hidden->column[k], scale * (double)hidden->value[k]);
    }
}

static size_t row_length(const sparse *hidden, size_t at)
{
    return hidden->start[at + 1] - hidden->start[at];
}

static void draw_inputs(trial *self, size_t inputs, size_t count)
{
    for (uint32_t i = 0; i < count; i++)
        add_input(self, place_below(self, i, inputs), sign_of(self, i));
}

static void draw_part(trial *self, const sparse *hidden, size_t live)
{
    size_t at = place_below(self, 0, live), length = row_length(hidden, at);
    double share = length > 2 * TRIAL_LENGTH ? (double)TRIAL_LENGTH / (double)length : 0.5;
    add_row(self, hidden, at, 0, sign_of(self, 0), share);
    if (word(self, WORD_MORE) & 1)
        add_input(self, place_below(self, 1, hidden->columns), 0.5 * sign_of(self, 1));
}

static void draw_sum(trial *self, const sparse *hidden, size_t live)
{
    size_t at[2] = {place_below(self, 0, live), place_below(self, 1, live)};
    size_t length = row_length(hidden, at[0]) + row_length(hidden, at[1]);
    double share = length > TRIAL_LENGTH ? (double)TRIAL_LENGTH / (double)length : 1.0;
    for (uint32_t part = 0; part < 2; part++)
        add_row(self, hidden, at[part], part, sign_of(self, part), share);
}

static void append_trial(sparse *hidden, uint32_t row, const trial *made)
{
    double square = 0;
    for (size_t i = 0; i < made->count; i++)
        square += made->value[i] * made->value[i];
    for (size_t i = 0; i < made->count; i++)
        if (made->value[i] != 0)
            sparse_append(hidden, row, made->column[i], (float)(made->value[i] / sqrt(square)));
}

void append_trials(sparse *hidden, uint64_t seed, uint64_t draw, uint32_t first, size_t count)
{
    size_t live = hidden->live;
    for (size_t i = 0; i < count; i++) {
        trial made = {.seed = seed, .stream = draw << 32 | i};
        uint32_t kind = word(&made, WORD_KIND) % 8;
        if (!live || kind < 4)
            draw_inputs(&made, hidden->columns, 1 + kind % 2);
        else if (kind < 6)
            draw_part(&made, hidden, live);
        else
            draw_sum(&made, hidden, live);
        append_trial(hidden, first + (uint32_t)i, &made);
    }
}
